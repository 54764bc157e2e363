"""What inversion and generators share: victims' images, and how near a picture comes to them."""

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

Found = dict[str, Any]


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
