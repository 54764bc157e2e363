"""Facts: all that a report tells, frozen.

`server.report.facts.reading` makes it; nothing else is told.

What a run has not measured is None or empty here, and is named as missing on the page.
"""

from dataclasses import dataclass
from pathlib import Path

from server.report.facts.evidence import Driven
from server.report.facts.findings import Audit, Cost, Encrypted, Leakage
from server.report.facts.reached import Reached


@dataclass(frozen=True)
class Client:
    """One device of a run.

    Attributes:
        records, held_out: that it trained on, and that it kept apart; None without a manifest.
        rounds: in which its update was good.
        epsilon: what its ledger says; None without a promise or without a ledger.
    """

    client: int
    records: int | None
    held_out: int | None
    rounds: int
    failed: int
    refused: int
    epsilon: float | None
    steps: int


@dataclass(frozen=True)
class Turn:
    """One round: what the model then reached, and what had been spent.

    Attributes:
        failed: clients whose update did not come, or was not taken.
        clip, within: where the clip follows a quantile, that of the round, and the noisy share of
            updates within it.
    """

    round: int
    accuracy: float | None
    loss: float | None
    epsilon: float | None
    seconds: float
    failed: int
    clip: float | None = None
    within: float | None = None


@dataclass(frozen=True)
class Failure:
    """A client's failure in a round."""

    round: int
    client: int
    reason: str
    refused: bool


@dataclass(frozen=True)
class RunFacts:
    """One run.

    Attributes:
        label: what tells it from the others of the report, in 24 characters; `series` says it
            without promise and seed; `about` is what else is its own.
        course: what each round brought.
        work: its settings that are not the defaults, as a digest that is alike in any report.
        command: what started it, as recorded.
        single_updates_seen: updates of one client that the server could read, over all rounds.
        epsilon: spent: the maximum over clients. `promise`: the target, or what was spent where
            the noise was given; None without a promise.
        group: its settings without the seed and what does not alter the result; its records by
            content, and the code that made it.
        outside: what leaves a device and is not inside the promise.
        trained_from: the file in it with the settings that trained it: of the whole net, for one
            that was cut out.
        searched: how a search came to it, and whether epsilon counts that; empty of a single run.
        test_records: on which accuracy was measured; None if the run does not say.
        damaged: (file, what is wrong with it) of parts that are there but cannot be read.
        failed_stages: (stage, error) of a sweep's cell that ended in this run.
    """

    name: str
    path: Path
    label: str
    series: str
    finished: bool
    rounds_done: int
    rounds: int
    created: str
    command: tuple[str, ...]
    machine: str
    versions: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    group: tuple[tuple[str, str], ...]
    seed: int
    dataset: str
    model: str
    arithmetic: str
    unit: str
    trust: str
    caveat: str
    diverged: bool
    warnings: tuple[str, ...]
    outside: tuple[str, ...]
    test_records: int | None
    sampling: str
    accountant: str
    secure_aggregation: str
    single_updates_seen: int
    accuracy: float | None
    best_accuracy: float | None
    seconds: float
    epsilon: float | None
    epsilon_full_participation: float | None
    promise: float | None
    delta: float | None
    noise_multiplier: float | None
    clip: float | None
    partition: str
    cohort: int
    clients: tuple[Client, ...]
    failures: tuple[Failure, ...]
    leakage: Leakage | None
    audit: Audit | None
    costs: tuple[Cost, ...]
    encrypted: tuple[Encrypted, ...]
    scheme: str
    auditable: bool
    reached: Reached | None = None
    events: tuple[Driven, ...] = ()
    searched: str = ""
    damaged: tuple[tuple[str, str], ...] = ()
    failed_stages: tuple[tuple[str, str], ...] = ()
    about: str = ""
    course: tuple[Turn, ...] = ()
    work: str = ""
    trained_from: str = "experiment.toml"

    @property
    def private(self) -> bool:
        """Was anything promised?"""
        return self.unit != "none"


@dataclass(frozen=True)
class Cell:
    """One cell of a sweep.

    Attributes:
        run: empty before it is there.
        labels: what its value on each axis is called.
    """

    sweep: str
    settings: str
    seed: int
    status: str
    error: str
    run: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Missing:
    """A part that is not there: why, of which runs, and the commands that fill it."""

    part: str
    why: str
    runs: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """All that a report tells.

    Attributes:
        unreadable: (name, reason) of run directories that are damaged.
    """

    created: str
    version: str
    command: str
    runs: tuple[RunFacts, ...]
    cells: tuple[Cell, ...]
    sweeps: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]
    missing: tuple[Missing, ...]

    @property
    def unfinished(self) -> tuple[str, ...]:
        """What ought to be told and cannot be, each with its reason: cells, then runs."""
        cells = tuple(
            f"{cell.sweep}: {cell.settings or 'its only cell'}, seed {cell.seed} "
            f"({cell.error or cell.status})"
            for cell in self.cells
            if cell.status not in ("done", "pruned")
        )
        return cells + tuple(f"{name} ({reason})" for name, reason in self.unreadable)

    @property
    def failed_cells(self) -> tuple[Cell, ...]:
        """Cells that ended in an error."""
        return tuple(c for c in self.cells if c.status == "failed")
