"""What `privet show` and `privet list` tell of a run: what it reached, and what it spent."""

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from privacy.dp.ledger import Ledger, Spent
from privacy.errors import RunError
from privacy.text import shown
from server.experiment.experiment import Experiment
from server.experiment.promise import (
    EVALUATED,
    accountant_of,
    caveat_of,
    clipping_of,
    covered_by,
    large_delta,
    neighbours_of,
    outside_of,
    sampling_of,
    told_epsilon,
    trust_of,
)
from server.run.directory import Run
from server.run.divergence import diverged_in, remedy
from server.run.origin import EXTRACTED
from server.run.rounds import RoundRecord, ledgers_after

SPIKES = "spikes.json"  # of neurons that fire: what server.run.spikes found
CHARGE = "charge.json"  # in a run that a charged search chose: what the search costs


@dataclass(frozen=True)
class Summary:
    """The facts of a run.

    Attributes:
        epsilon: the maximum over clients of what their ledgers say; of a run that a charged search
            chose, search included.
        searched: of such a run, how; of a net that was cut out, of what; else empty.
        epsilon_full_participation: of a client that took part in every round.
        neighbours: between which epsilon holds.
        caveat: for whom it does not: see server.experiment.promise.
        warnings: what takes the worth from a figure above: training diverged, delta is large,
            labels have no record.
        outside: what leaves a device and is not inside the promise.
        single_updates_seen: updates of one client that the server could read, over all rounds.
        clip: of a budget whose clip follows a quantile, of the first round.
        clipping: of such a budget, where the clip went, and with which noise; else empty.
    """

    run: str
    status: str
    rounds: str
    dataset: str
    model: str
    clients: int
    accuracy: float | None
    best_accuracy: float | None
    failures: int
    refusals: int
    seconds: float
    unit: str
    epsilon: float | None
    epsilon_target: float | None
    epsilon_full_participation: float | None
    delta: float | None
    noise_multiplier: float | None
    clip: float | None
    neighbours: str
    caveat: str
    accountant: str
    sampling: str
    trust: str
    warnings: tuple[str, ...]
    outside: tuple[str, ...]
    secure_aggregation: str
    single_updates_seen: int
    searched: str = ""
    clipping: str = ""


def summarise(run: Run) -> Summary:
    """Read a run's facts.

    Raises:
        RunError: the run is damaged.
    """
    experiment, rounds = run.experiment, run.rounds
    budget, federation = experiment.budget, experiment.federation
    private = budget.unit != "none"
    epsilon = full = None
    if private:
        assert budget.noise_multiplier is not None
        spent = {ledger.entries for ledger in ledgers_after(rounds).values()}
        epsilon = max((told_epsilon(experiment, Ledger(entries)) for entries in spent), default=0.0)
        steps = federation.rounds * experiment.steps_per_round
        off = max((e.divergence / e.steps for entries in spent for e in entries), default=0.0)
        always = Spent(budget.noise_multiplier, experiment.sample_rate, steps, steps * off)
        full = told_epsilon(experiment, Ledger([always]))
    charged, searched, target = _charged(run, budget.delta), "", budget.epsilon
    if epsilon is not None and charged:
        epsilon = target = max(epsilon, charged[0])
        searched = charged[1]
    diverged = diverged_in(run, rounds)
    done = "finished" if len(rounds) == federation.rounds else "unfinished"
    accuracies = [r.accuracy for r in rounds if r.accuracy is not None]
    failures = [c for r in rounds for c in r.clients if c.failure]
    return Summary(
        run=str(run.path),
        status=f"diverged in round {diverged}" if diverged else done,
        rounds=f"{len(rounds)} of {federation.rounds}",
        dataset=experiment.data.name,
        model=experiment.model.name,
        clients=federation.clients,
        accuracy=accuracies[-1] if accuracies else None,
        best_accuracy=max(accuracies, default=None),
        failures=len(failures),
        refusals=sum(c.refused for c in failures),
        seconds=round(sum(r.seconds for r in rounds), 2),
        unit=budget.unit,
        epsilon=epsilon,
        epsilon_target=target if private else None,
        epsilon_full_participation=full,
        delta=budget.delta if private else None,
        noise_multiplier=budget.noise_multiplier if private else None,
        clip=budget.clip if private else None,
        accountant=accountant_of(experiment) if private else "",
        neighbours=neighbours_of(experiment),
        caveat=caveat_of(experiment),
        sampling=sampling_of(experiment),
        trust=trust_of(experiment) + _vouching(rounds),
        warnings=_warnings(run, diverged),
        outside=outside_of(experiment),
        secure_aggregation=federation.secure_aggregation,
        single_updates_seen=sum(
            r.secure["single_updates"] if r.secure else sum(not c.failure for c in r.clients)
            for r in rounds
        ),
        searched="; ".join(filter(None, [searched, _cut_out(run)])),
        clipping=_clipping(experiment, rounds) if private else "",
    )


def _clipping(experiment: Experiment, rounds: list[RoundRecord]) -> str:
    if not (told := clipping_of(experiment)):
        return ""
    clips = [record.clipping["clip"] for record in rounds if record.clipping]
    if clips:
        told += (
            f"; clips of {len(clips)} rounds from {min(clips):.3g} to {max(clips):.3g}, in the "
            f"last {clips[-1]:.3g}"
        )
    return told


def _cut_out(run: Run) -> str:
    found = run.kept(EXTRACTED)
    if not found:
        return ""
    whole, chip = (shown(str(found.get(key)), 60) for key in ("from", "chip"))
    return (
        f"cut out of {whole}, which trained many nets, for {chip}: the most accurate that fits, on "
        "the test set, and so told a little high; cutting and choosing spent no epsilon"
    )


def _charged(run: Run, delta: float) -> tuple[float, str] | None:
    """Epsilon of a run that a charged search chose, and how it came about; None of any other.

    Raises:
        RunError: what the search left in the run is damaged.
    """
    if not os.path.lexists(run.path / CHARGE):
        return None
    match run.kept(CHARGE):
        case {"epsilon": float(epsilon), "delta": float(told), "said": str(said)}:
            if epsilon >= 0 and told == delta:
                return epsilon, said
    raise RunError(
        f"{run.path / CHARGE}: damaged: what the search that chose this run cost is not known"
    )


def _warnings(run: Run, diverged: int | None) -> tuple[str, ...]:
    experiment = run.experiment
    data = run.data_told
    most = data.get("most_of_a_person", "")
    known = int(most) if re.fullmatch("[0-9]{1,18}", most) else 0
    told = f"diverged in round {diverged}: figures from there on are of no model; "
    return (
        *((told + remedy(experiment),) if diverged else ()),
        *large_delta(experiment, _num_protected(run)),
        *filter(None, [covered_by(experiment, known), data.get("labels")]),
        *_dead_or_loud(run),
    )


def _dead_or_loud(run: Run) -> tuple[str, ...]:
    """What a run of neurons that fire kept when it was done."""
    told = run.kept(SPIKES).get("warnings")
    return tuple(line for line in told if isinstance(line, str)) if isinstance(told, list) else ()


def _num_protected(run: Run) -> int:
    """Clients, or under `unit = "record"` the training records of the smallest of them."""
    experiment = run.experiment
    if experiment.budget.unit != "record":
        return experiment.federation.clients
    try:
        manifest = run.manifest
    except RunError:  # damaged, as other commands say
        return experiment.data.nominal_records
    own = manifest.owner[(manifest.owner >= 0) & ~manifest.held_out]
    if not len(own):  # devices' records are their own: what is told of them
        return experiment.data.nominal_records
    return int(np.bincount(own, minlength=experiment.federation.clients).min())


def _vouching(rounds: list[RoundRecord]) -> str:
    """Who says who the members of sums were?"""
    sums = [record.secure for record in rounds if record.secure]
    if all(seen.get("signed") == seen["members"] for seen in sums):
        return ""
    return "; who is in a sum is the server's word, for members signed no keys"


def weights_sha256(run: Run) -> str:
    """SHA-256 of the weights after the last round: their names, shapes and numbers; empty if they
    are not there, or damaged."""
    try:
        weights = run.weights(len(run.rounds))
    except RunError:
        return ""
    total = hashlib.sha256()
    for name, array in sorted(weights.items()):
        total.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def measured(run: Run, scheme: str) -> dict[str, Any]:
    """What `privet infer` measured of these weights under one scheme; empty before, if it is of
    other weights, or if it is damaged."""
    found = run.inference.get(scheme)
    if not isinstance(found, dict) or type(found.get("images")) is not int:
        return {}
    return found if found.get("weights") == (weights_sha256(run) or None) else {}


def exposes(summary: Summary) -> bool:
    """Do figures of records leave without noise beside the promise?"""
    return EVALUATED in summary.outside
