"""Victims: whether there are enough, their records, and how near a drawn one comes to them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.reconstruction.likeness import FIGURES, WINDOW, alike, mean_finite, ssim
from attacks.tape import Nature, Sample, Tape
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


def some_of(sample: Sample, num: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Some records as they were, and their labels."""
    chosen = torch.from_numpy(rng.permutation(len(sample))[:num])
    return sample.originals(chosen), sample.y[chosen]


def likeness_of(drawn: Tensor, originals: Tensor, nature: Nature) -> Found:
    """How near records come to others, on the mean of pairs."""
    found: Found = {FIGURES[nature.kind]: mean_finite(alike(drawn, originals, nature).float())}
    if nature.kind == "picture" and min(nature.shape[-2:]) >= WINDOW:
        found["ssim"] = float(ssim(drawn, originals).mean())
    return found


def open_ended(budget: Budget) -> Budget:
    """The same noise; an experiment's ledger is not the run's."""
    return budget.model_copy(update={"epsilon": None})
