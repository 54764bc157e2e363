"""Victims: whether there are enough, and under which budget they play."""

from typing import Any

from attacks.tape import Tape
from privacy.dp.budget import Budget
from privacy.errors import RunError
from server.run.directory import Run

Found = dict[str, Any]


LEAST = 10  # records, of each kind that membership tells apart


def require_enough(run: Run, tape: Tape) -> None:
    """Refuse to attack a handful of records, of which no figure would tell anything.

    Raises:
        RunError: there are fewer than `LEAST` members, held-out records, or test records.
    """
    inside, outside = int(tape.member.sum()), int((~tape.member).sum())
    if min(inside, outside, len(tape.reference)) < LEAST:
        raise RunError(
            f"{run.path}: {inside} records were trained on, {outside} held out, "
            f"{len(tape.reference)} are in the test set: an attack needs {LEAST} of each; run it "
            "with more records, or another [data] held_out"
        )


def open_ended(budget: Budget) -> Budget:
    """The same noise; an experiment's ledger is not the run's."""
    return budget.model_copy(update={"epsilon": None})
