"""Training that left the numbers: in which round, and what to change."""

import math
from collections.abc import Iterable

from privacy.errors import FederationFailed
from server.experiment.experiment import Experiment
from server.run.directory import Run
from server.run.rounds import ClientRecord, RoundRecord

STOPPED = "stopped.json"
NOT_FINITE = "not finite"  # in the reason of every update that is refused for its numbers
REMEDY = {
    "none": "lower [training] learning_rate, or set [training] gradient_norm",
    "record": "lower [training] learning_rate",
    "client": "lower [training] learning_rate or [budget] clip",
}


def stop(run: Run, number: int, what: str) -> FederationFailed:
    """Note that round `number` came to no weights, and what to raise for it."""
    run.keep(STOPPED, {"round": number, "why": "diverged"})
    return FederationFailed(f"diverged in round {number}: {what}; {remedy(run.experiment)}")


def remedy(experiment: Experiment) -> str:
    """What to change, by what holds an update back."""
    return REMEDY[experiment.budget.unit]


def all_diverged(entries: Iterable[ClientRecord]) -> bool:
    """Did every client that trained come to numbers that are none?"""
    failures = [entry.failure or "" for entry in entries if not entry.refused]
    return bool(failures) and all(NOT_FINITE in failure for failure in failures)


def diverged_in(run: Run, rounds: list[RoundRecord]) -> int | None:
    """The first round whose loss is not finite, or which came to no weights; None if none is."""
    for record in rounds:
        if record.loss is not None and not math.isfinite(record.loss):
            return record.round
    told = run.kept(STOPPED)
    number = told.get("round")
    return number if told.get("why") == "diverged" and number == len(rounds) + 1 else None
