"""Victims: whether there are enough, their images, and how near a picture comes to them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.reconstruction.likeness import (
    mean_finite,
    psnr,
    ssim,
)
from attacks.tape import Sample, Tape
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


def shape_of(tape: Tape) -> tuple[int, int]:
    height, width = tape.pool.images(torch.tensor([0])).shape[1:]
    return int(height), int(width)


def some_of(sample: Sample, num: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels of some records."""
    chosen = torch.from_numpy(rng.permutation(len(sample))[:num])
    return sample.images(chosen), sample.y[chosen]


def likeness_of(images: Tensor, originals: Tensor) -> Found:
    found: Found = {"psnr_db": mean_finite(psnr(images, originals))}
    if min(originals.shape[1:]) >= 11:
        found["ssim"] = float(ssim(images, originals).mean())
    return found


def open_ended(budget: Budget) -> Budget:
    """The same noise; an experiment's ledger is not the run's."""
    return budget.model_copy(update={"epsilon": None})
