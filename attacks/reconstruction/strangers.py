"""A drawn record tells of its victim only if it is nearer to it than strangers' records are."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor

from attacks.leakage import LEVEL, Figure
from attacks.reconstruction.likeness import (
    MEASURES,
    alike,
    mean_finite,
    measures_of,
    sign_flip_p,
    typical,
)
from attacks.tape import Nature

CONTROLS = ("nearest_stranger", "class_mean")
MOST = 100.0  # dB: what is nearer is the same


def held_against(
    drawn: Tensor, originals: Tensor, strangers: Tensor, same: Tensor, nature: Nature
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What was drawn of V victims beside strangers' records, and how near each comes.

    Args:
        drawn, originals: records [V, *nature.shape].
        strangers: records [S, *nature.shape].
        same: bool [V, S]: which strangers may be taken for a victim: those of its class.

    Returns:
        Rows of records [V, *nature.shape]: what was drawn, of each victim the stranger that is
        nearest by the measure that decides, and what is typical of strangers; and their figures:
        each row's means, and by how much what was drawn is nearer than the better control, with its
        interval (Student's t; none of one victim) and the chance of that.
    """
    near = []
    for one, theirs in zip(originals, same, strict=True):
        near.append(strangers[theirs][nearest_of(one, strangers[theirs], nature)])
    rows = {
        "reconstruction": drawn,
        "nearest_stranger": torch.stack(near),
        "class_mean": torch.stack([typical(strangers[theirs], nature) for theirs in same]),
    }
    figure = measures_of(nature)[0]
    scores = {name: likeness_of(row, originals, nature) for name, row in rows.items()}
    control = max(CONTROLS, key=lambda name: scores[name][figure])
    ours, theirs = (
        alike(rows[name], originals, nature).double().clamp(-MOST, MOST).numpy()
        for name in ("reconstruction", control)
    )
    ahead = mean_interval(ours - theirs)
    return rows, {
        "victims": len(originals),
        "figure": figure,
        **scores,
        **({"nearer_by": asdict(ahead)} if ahead else {}),
        "p_nearer_than_strangers": sign_flip_p(ours - theirs),
    }


def nearest_of(record: Tensor, strangers: Tensor, nature: Nature) -> int:
    """Which of strangers [S, *nature.shape] is most like a record [*nature.shape]."""
    return int(alike(record.expand_as(strangers), strangers, nature).argmax())


def likeness_of(drawn: Tensor, originals: Tensor, nature: Nature) -> dict[str, float]:
    """How near records come to others, on the mean of pairs, by each measure of their kind."""
    return {
        name: mean_finite(MEASURES[name](drawn, originals, nature).float(), MOST)
        for name in measures_of(nature)
    }


def mean_interval(values: NDArray[np.float64]) -> Figure | None:
    """The mean of values [N] with its 95 % interval by Student's t; None of a single one."""
    if len(values) < 2:
        return None
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    half = float(student.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return Figure(mean, mean - half, mean + half)
