"""Findings: what attack, audit, cost and infer left in a run directory, as frozen data.

What was not measured is None or empty.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Adversary:
    """What one adversary learned of membership.

    Attributes:
        left_out: why it was not played; empty if it was.
        auc, tpr: by the attacks that shadows chose for each; `tpr` where 1 % are falsely accused.
        epsilon: the most that any of its attacks proves at 95 % confidence; None if not measured.
        roc: (false, true positive rate) of the attack of `auc`.
    """

    name: str
    left_out: str = ""
    auc_attack: str = ""
    auc: Interval | None = None
    tpr_attack: str = ""
    tpr: Interval | None = None
    epsilon: float | None = None
    members: int = 0
    non_members: int = 0
    roc: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Exhibits:
    """A few victims' records beside what was drawn of them.

    Attributes:
        classes: of the victims, in their order; empty where there are none.
        columns: (name, unit) of a table's columns, or of the channels of a recording.
        rows: of a table, for each victim and each of its columns: original, reconstruction, nearest
            stranger.
        curves: of recordings, for each victim these three: a curve for each channel.
        length, unit: of a recording, in seconds or samples.
    """

    classes: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[tuple[str | float, ...], ...], ...] = ()
    curves: tuple[tuple[tuple[tuple[float, ...], ...], ...], ...] = ()
    length: float = 0.0
    unit: str = ""


@dataclass(frozen=True)
class Likeness:
    """A reconstruction, held against its controls.

    Attributes:
        measures: (what, of the reconstruction, of each control in order); the first decides.
        controls: their names.
        rows: of the picture, from the top.
        nearer_by: by that, the reconstruction less the better control.
        p_value: of the reconstruction's being nearer to its victim only by chance.
        warning: what is to be held against it.
    """

    name: str
    left_out: str = ""
    method: str = ""
    victims: int = 0
    controls: tuple[str, ...] = ()
    measures: tuple[tuple[str, tuple[float | None, ...]], ...] = ()
    nearer_by: Interval | None = None
    p_value: float | None = None
    warning: str = ""
    picture: str = ""
    png: bytes = field(default=b"", repr=False)
    rows: tuple[str, ...] = ()
    exhibits: Exhibits = Exhibits()


@dataclass(frozen=True)
class Persons:
    """Whether a whole person was trained on, from all of their records.

    Attributes:
        against: who those are of whom nothing was.
    """

    left_out: str = ""
    auc: Interval | None = None
    members: int = 0
    non_members: int = 0
    against: str = ""


@dataclass(frozen=True)
class Hidden:
    """What a model adds to guessing a hidden column: shares of guesses that are right.

    Attributes:
        members, non_members: with the model less without it, of records trained on and of others.
        of_membership: with the model, of records trained on less of others.
    """

    column: str
    members: Interval
    non_members: Interval
    of_membership: Interval


@dataclass(frozen=True)
class Leakage:
    """What `privet attack` found."""

    adversaries: tuple[Adversary, ...]
    gap: Interval | None
    train_accuracy: float | None
    test_accuracy: float | None
    likenesses: tuple[Likeness, ...]
    robustness: tuple[tuple[str, tuple[tuple[str, Interval], ...]], ...]
    robustness_left_out: str = ""
    persons: Persons | None = None
    hidden: tuple[Hidden, ...] = ()
    classes: tuple[tuple[str, Interval, int, int], ...] = ()  # AUC, members, strangers

    @property
    def played(self) -> tuple[Adversary, ...]:
        """The adversaries that were played."""
        return tuple(a for a in self.adversaries if not a.left_out)

    @property
    def strongest(self) -> Adversary:
        """The one with the greatest AUC."""
        return max(self.played, key=lambda a: a.auc.value if a.auc else 0.0)

    @property
    def epsilon(self) -> float | None:
        """The most that any attack proves."""
        return max((a.epsilon for a in self.played if a.epsilon is not None), default=None)


@dataclass(frozen=True)
class Check:
    """One test of the auditor."""

    name: str
    passed: bool
    measured: str
    expected: str
    meaning: str


@dataclass(frozen=True)
class Bound:
    """A lower bound on epsilon at 95 % confidence."""

    name: str
    epsilon: float
    assumes: str


@dataclass(frozen=True)
class Audit:
    """What `privet audit` found.

    Attributes:
        epsilon: what is claimed for the audited steps.
        not_examined: what the auditor could not run.
    """

    passed: bool
    epsilon: float
    steps: int
    checks: tuple[Check, ...]
    bounds: tuple[Bound, ...]
    not_examined: tuple[str, ...] = ()

    @property
    def best(self) -> Bound | None:
        """The greatest lower bound."""
        return max(self.bounds, key=lambda b: b.epsilon, default=None)

    @property
    def by_chance(self) -> bool:
        """Is a bound above the claim, but by chance: at 95 % and not at the audit's 99.99 %?"""
        return self.passed and self.best is not None and self.best.epsilon > self.epsilon


@dataclass(frozen=True)
class Phase:
    """One phase of one layer on a chip. An operation is a multiply or an add.

    Attributes:
        intensity: operations a byte of DRAM; None for what multiplies nothing.
    """

    layer: str
    phase: str
    latency_s: float
    energy_j: tuple[tuple[str, float], ...]
    dram_bytes: float
    macs: float
    utilisation: float
    bound: str
    intensity: float | None
    operations_per_s: float


@dataclass(frozen=True)
class Step:
    """An inference of one record, or a training step.

    Attributes:
        peak_operations_per_s, dram_bytes_per_s: the roof, from the rows; None if no row tells.
    """

    batch: int
    latency_s: float
    energy_j: float
    energy_parts_j: tuple[tuple[str, float], ...]
    peak_bytes: float
    limit_bytes: float
    fits: bool
    phases: tuple[Phase, ...]
    peak_operations_per_s: float | None
    dram_bytes_per_s: float | None


@dataclass(frozen=True)
class Round:
    """A federated round on one device, radio included."""

    steps: int
    latency_s: float
    latency_99_s: float
    energy_j: float
    upload_bytes: float
    download_bytes: float
    radio_s: float
    radio_j: float


@dataclass(frozen=True)
class Preparation:
    """A fixed transform of a device's records, once before the first round.

    Attributes:
        peak_bytes: while it is computed. `kept_bytes`: of what it gave, until the last round.
    """

    records: int
    latency_s: float
    energy_j: float
    peak_bytes: float
    fits: bool
    kept_bytes: float


@dataclass(frozen=True)
class Cost:
    """What `privet cost` found for one chip.

    Attributes:
        arithmetic: of the model. `transform`: of the fixed transform before it; empty without one.
        notes: where what is priced is not what was trained.
        left: share of weights and of products that pruning and zeros leave; None if not counted.
        speed_ups: by the share of products left out: in theory, of the array, of the inference;
            the first as it was counted, the others a curve.
    """

    chip: str
    arithmetic: str
    inference: Step
    step: Step
    round: Round | None
    transform: str = ""
    preparation: Preparation | None = None
    notes: tuple[str, ...] = ()
    left: tuple[float, float] | None = None
    speed_ups: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def short(self) -> str:
        """The chip's name without its description."""
        return self.chip.partition(":")[0]

    @property
    def too_large(self) -> tuple[str, ...]:
        """What of it the device's memory does not hold."""
        parts = {"inference": self.inference, "step": self.step, "transform": self.preparation}
        return tuple(name for name, part in parts.items() if part and not part.fits)

    @property
    def latency_s(self) -> float:
        """Of a round where there is one, else of a training step."""
        return self.round.latency_s if self.round else self.step.latency_s


@dataclass(frozen=True)
class Encrypted:
    """What `privet infer --evaluate` found for one scheme.

    Attributes:
        images: on which the shares stand; `timed_images`: on which the times do.
        times_ms: medians, by step, in the order of the protocol.
        versions: of the libraries that computed.
    """

    scheme: str
    security: str
    images: int
    timed_images: int
    versions: tuple[tuple[str, str], ...]
    encrypted_accuracy: Interval | None
    plain_accuracy: Interval | None
    agreement: Interval | None
    times_ms: tuple[tuple[str, float], ...]
    total_ms: float
    keys_bytes: float
    upload_bytes: float
    download_bytes: float
