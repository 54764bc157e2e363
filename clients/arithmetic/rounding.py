"""Rounding to k-bit words, row by row: each record has a step of its own, and sees no other.

A signed word holds -n ... n with n = 2^(k-1) - 1; a record without negative numbers is held in
unsigned words, 0 ... 2^k - 1. The step is chosen so that the largest word stands for `REACH[k]`
root mean squares of the record, which loses least where numbers are normally distributed (Banner et
al., NeurIPS 2019), but for no more than the record's largest magnitude.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.arithmetic.dice import Dice, uniform
from clients.arithmetic.faults import flip_words
from clients.arithmetic.projections import inner
from privacy.cipher import LongWords
from privacy.compiling import compiled

Rows = NDArray[np.float32]

# The clip, in standard deviations, of least squared error of a normal variable; the tests find
# each again by a search.
REACH = {2: 1.22, 3: 1.95, 4: 2.47, 5: 2.90, 6: 3.27, 7: 3.61, 8: 3.92}


@compiled  # type: ignore[untyped-decorator]
def _largest(row: Any) -> Any:
    """Of the magnitudes in a row, and whether none is negative.

    On the bits: floats without their sign are ordered as integers are, and integers have a maximum
    that the compiler can take sixteen at a time. A NaN is greater than any number.
    """
    integers = row.view(np.int32)
    magnitude, signs = np.int32(0), np.int32(0)
    for i in range(len(integers)):
        magnitude = max(magnitude, integers[i] & np.int32(0x7FFFFFFF))
        signs |= integers[i]
    largest = np.empty(1, np.int32)
    largest[0] = magnitude
    return largest.view(np.float32)[0], signs >= 0


@compiled  # type: ignore[untyped-decorator]
def round_rows(x: Rows, bits: int, reach: float, out: Rows, bounds: Rows) -> None:
    """To the nearest word: x [N, D] -> out [N, D], and the largest number held, bounds [N].

    reach: in root mean squares of a row; infinite to hold the largest magnitude. A row that is not
    finite comes out as NaN.
    """
    for n in range(x.shape[0]):
        row = x[n]
        largest, unsigned = _largest(row)
        bound = min(largest, np.float32(reach) * np.sqrt(inner(row, row) / np.float32(len(row))))
        words = np.float32((1 << bits) - 1 if unsigned else (1 << (bits - 1)) - 1)
        bounds[n] = bound
        if bound == 0:
            out[n] = row * np.float32(0)  # keeps a NaN
            continue
        step, per_step = bound / words, words / bound
        for d in range(x.shape[1]):
            word = np.rint(row[d] * per_step)
            out[n, d] = min(max(word, -words), words) * step


@compiled  # type: ignore[untyped-decorator]
def round_rows_at_random(x: Rows, bits: int, seeds: LongWords, out: Rows) -> None:
    """To one of the two nearest words, so that the mean over seeds [N] is x: [N, D] -> [N, D]."""
    words = np.float32((1 << (bits - 1)) - 1)
    for n in range(x.shape[0]):
        row = x[n]
        largest, _ = _largest(row)
        if largest == 0:
            out[n] = row * np.float32(0)
            continue
        step, per_step = largest / words, words / largest
        for d in range(x.shape[1]):
            draw = uniform(seeds[n], d)
            word = np.floor(row[d] * per_step + draw)
            out[n, d] = min(max(word, -words), words) * step


class _RoundInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int, seeds: LongWords | None) -> Tensor:
        rows = x.detach().contiguous().flatten(1)
        out = torch.empty_like(rows)
        bounds = torch.empty(len(rows))
        if seeds is None:
            round_rows(rows.numpy(), bits, REACH[bits], out.numpy(), bounds.numpy())
        else:
            round_rows_at_random(rows.numpy(), bits, seeds, out.numpy())
            bounds.fill_(torch.inf)
        ctx.save_for_backward(x, bounds)
        return out.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        x, bounds = ctx.saved_tensors
        held = x.abs() <= bounds.view(-1, *[1] * (x.dim() - 1))
        return g * held, None, None


class _RoundGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, bits: int, seeds: LongWords) -> Tensor:
        ctx.note = (bits, seeds)
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        bits, seeds = ctx.note
        rows = g.contiguous().flatten(1)
        out = torch.empty_like(rows)
        round_rows_at_random(rows.numpy(), bits, seeds, out.numpy())
        return out.view_as(g), None, None


class RoundInput(nn.Module):
    """Activations in k-bit words: records [B, ...] -> the same, rounded.

    On the way back, a straight-through estimator that blocks what was out of range.

    Args:
        bits: 2 to 8.
        stochastic: round at random, without bias, in training; to the nearest in evaluation.
        fault_rate: share of the words' bits that flip in evaluation.
    """

    def __init__(self, bits: int, stochastic: bool = False, fault_rate: float = 0.0) -> None:
        super().__init__()
        self.bits, self.stochastic, self.fault_rate = bits, stochastic, fault_rate
        self.dice = Dice()

    def forward(self, x: Tensor) -> Tensor:
        """Round each record."""
        if self.fault_rate and not self.training:
            return self._with_faults(x)
        seeds = self.dice.rows(len(x)) if self.stochastic and self.training else None
        rounded: Tensor = _RoundInput.apply(x, self.bits, seeds)
        return rounded

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"bits={self.bits}, stochastic={self.stochastic}, fault_rate={self.fault_rate}"

    def _with_faults(self, x: Tensor) -> Tensor:
        rows = x.detach().contiguous().flatten(1)
        out, bounds = torch.empty_like(rows), torch.empty(len(rows))
        round_rows(rows.numpy(), self.bits, REACH[self.bits], out.numpy(), bounds.numpy())
        for row, held, bound in zip(rows, out, bounds, strict=True):
            signed = bool(row.min() < 0)
            step = bound / ((1 << self.bits - signed) - 1)
            if step > 0:
                words = (held / step).round_()
                held[:] = flip_words(words, self.bits, self.fault_rate, signed=signed) * step
        return out.view_as(x)


class RoundGradient(nn.Module):
    """The identity, which on its way back rounds each record's gradient at random, without bias.

    Args:
        bits: 2 to 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits, self.dice = bits, Dice()

    def forward(self, y: Tensor) -> Tensor:
        """Pass [B, ...] on."""
        if not (self.training and torch.is_grad_enabled()):
            return y
        passed: Tensor = _RoundGradient.apply(y, self.bits, self.dice.rows(len(y)))
        return passed

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"bits={self.bits}"
