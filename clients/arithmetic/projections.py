"""Projections of trained weights W on what a device holds: T alpha, T of few bits, alpha a scale.

`heuristic` takes the scale by rule of thumb. `optimised` solves the survey's Eq. 3 (Gross, Meyer
and Ardakani, IEEE OJCAS 2, 2021), min over T and alpha of |W - alpha T|^2. For a given T that is
alpha = <W, T> / <T, T>: mean |W| for T in {-1, 1} (XNOR-Net, Rastegari et al. 2016); for {-1, 0, 1}
the best threshold is found by sorting; for k bits the two are solved in turn.

Shapes: R rows which each have a scale (one for the tensor, or one for an output), C columns.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clients.arithmetic.straight import signs
from privacy.compiling import compiled, compiling

# Sums in any order, as many at a time as the machine has lanes.
fast: Any = compiling(fastmath={"reassoc", "contract"})

TURNS = 8  # of solving for T and alpha; either lowers the error, and more change nothing


class Projected(NamedTuple):
    """`words` [R, C] of small integers in float32, and the `scale` [R, 1] of each row."""

    words: Tensor
    scale: Tensor


def fixed(rows: Tensor, bits: int, optimised: bool, draw: Tensor | None) -> Projected:
    """k-bit words -n ... n, n = 2^(k-1) - 1.

    Args:
        draw: numbers in [0, 1) [R, C] to round at random, without bias; None for the nearest word.
    """
    words = torch.empty_like(rows)
    scale = torch.empty(len(rows), 1)
    most, turns = (1 << bits - 1) - 1, TURNS if optimised else 0
    _round_weights(rows.numpy(), most, turns, words.numpy(), scale.numpy()[:, 0])
    if draw is None:
        return Projected(words, scale)
    words = torch.where(scale > 0, rows / scale, 0.0).add_(draw).floor_().clamp_(-most, most)
    return Projected(words, scale)


@compiled  # type: ignore[untyped-decorator]
def _round_weights(rows: Any, most: int, turns: int, words: Any, scale: Any) -> None:
    """Nearest words of rows [R, C], and scales [R], refined in so many turns."""
    highest = np.float32(most)
    for r in range(len(rows)):
        largest = np.float32(0)
        for w in rows[r]:
            magnitude = abs(w)
            largest = magnitude if magnitude > largest else largest
        step = largest / highest
        for turn in range(turns + 1):
            if step == 0:
                words[r] = 0
                break
            per_step = np.float32(1) / step
            for c in range(rows.shape[1]):
                word = np.rint(rows[r, c] * per_step)
                words[r, c] = min(max(word, -highest), highest)
            if turn < turns:
                product, square = inner(rows[r], words[r]), inner(words[r], words[r])
                if abs(product / square - step) <= np.float32(1e-6) * step:
                    break
                step = product / square
        scale[r] = step


@fast  # type: ignore[untyped-decorator]
def inner(a: Any, b: Any) -> Any:
    """The scalar product of two rows."""
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


def ternary(rows: Tensor, optimised: bool) -> Projected:
    """-1, 0 and 1.

    Heuristic: weights under 0.7 of the mean magnitude are zero (Li and Liu, Ternary Weight
    Networks, 2016). Optimised: with the k largest magnitudes kept, the error falls by
    (their sum)^2 / k, so the best k is read off a sorted row.
    """
    magnitudes = rows.abs()
    if optimised:
        ordered = magnitudes.sort(1, descending=True).values
        kept = torch.arange(1, rows.shape[1] + 1)
        best = (ordered.cumsum(1).square_() / kept).argmax(1, keepdim=True)
        threshold = ordered.gather(1, best)
        words = rows.sign() * (magnitudes >= threshold)
    else:
        words = rows.sign() * (magnitudes > 0.7 * magnitudes.mean(1, keepdim=True))
    return Projected(words, _least_squares(rows, words))


def binary(rows: Tensor) -> Projected:
    """-1 and 1; zero counts as 1. The mean magnitude is already the optimum."""
    return Projected(signs(rows), rows.abs().sum(1, keepdim=True) / rows.shape[1])


def _least_squares(rows: Tensor, words: Tensor) -> Tensor:
    squared = words.square().sum(1, keepdim=True)
    return (rows * words).sum(1, keepdim=True) / squared.clamp(min=1.0)


Project = Callable[[Tensor, Tensor | None], Projected]
