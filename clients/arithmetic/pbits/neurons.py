"""Neurons whose weights are read from p-bits: their inputs and outputs are clamped, no gradient.

Weights are -1, 0 and 1, by the sign of their counters and zero where a p-bit would hardly prefer
one: so far invertible logic (Camsari et al. 2017), after Onizawa et al., "In-hardware training chip
based on CMOS invertible logic for machine learning" (IEEE TCAS-I 2020), which clamps a perceptron's
inputs and outputs and reads its weights. A record's votes (`clamping`) go into the counters, each
-1 or 1: so the squared norm of what it changes is their number, and it is clipped by that.

To what an output is clamped comes from above. Of the loss only that is read at which output its
derivative is negative: that is the label, and nothing else of it comes in. The readout's label is
clamped above its strongest rival; hidden neurons are clamped to their class's code, half of the
classes 1, which is drawn once and known to everyone (an error-correcting output code: Dietterich
and Bakiri 1995). No sum or weight has a derivative anywhere.

Shapes: B records, I inputs, O neurons, D wires of a neuron, C classes.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.arithmetic.dice import Dice
from clients.arithmetic.local import LocalLayer, by_itself
from clients.arithmetic.pbits.clamping import MARGIN, clamp, duel
from privacy.dp.rules import RULES, Share

FIRST = 0.1  # largest of the first counters
LEAST = 0.3  # of a p-bit's mean |tanh c|, for its weight not to be zero
SHARE = 0.46  # of a picture's side, or of a row's length squared: how much a hidden neuron sees


def wires_of(inputs: int, outputs: int) -> Tensor:
    """Windows at random places that are known to everyone, int64 [O, D].

    Of a square number of inputs they are squares of a picture, else stretches of the row.
    """
    rng, side = np.random.default_rng(inputs), math.isqrt(inputs)
    if side**2 != inputs:
        width = max(1, round(SHARE**2 * inputs))
        at = rng.integers(0, inputs - width + 1, outputs)
        return torch.from_numpy(at[:, None] + np.arange(width))
    width = max(1, round(SHARE * side))
    row, column = rng.integers(0, side - width + 1, (2, outputs))
    within = (np.arange(width)[:, None] * side + np.arange(width)).ravel()
    return torch.from_numpy((row * side + column)[:, None] + within)


def codes_of(classes: int, outputs: int) -> Tensor:
    """To what each class clamps each hidden neuron, float32 [C, O] of -1 and 1."""
    rng = np.random.default_rng(outputs)
    half = np.where(np.arange(classes) < classes // 2, 1, -1)
    codes = np.stack([rng.permutation(half) for _ in range(outputs)], 1)
    return torch.from_numpy(codes.astype(np.float32))


def read(counters: Tensor) -> Tensor:
    """Weights of -1, 0 and 1."""
    return counters.sign() * (counters.tanh().abs() >= LEAST)


class InvertibleLinear(LocalLayer):
    """Hidden neurons: inputs [B, I], 1 above `threshold`, else 0 -> [B, O] of 0 and 1.

    Args:
        below: what class clamps the layer below, [C, I]; None if records come in.
    """

    def __init__(self, inputs: int, codes: Tensor, below: Tensor | None, threshold: float) -> None:
        super().__init__()
        self.inputs, self.threshold, self.dice = inputs, threshold, Dice()
        self.codes, self.below = codes, below
        self.wires = wires_of(inputs, codes.shape[1])
        self.weight = nn.Parameter(torch.empty(self.wires.shape).uniform_(-FIRST, FIRST))

    def answer(self, x: Tensor) -> Tensor:
        """Is the sum above zero?"""
        w_OI = x.new_zeros(len(self.wires), self.inputs)
        w_OI.scatter_(1, self.wires, read(self.weight.detach()))
        return ((x > self.threshold).to(x.dtype) @ w_OI.t() > 0).to(x.dtype)

    def share(self, x: Tensor, told: Tensor) -> Share:
        """Votes of the records' neurons, clamped where `told`, [B, O], is not zero."""
        bits, t = _bits(x, self.threshold), (-told).sign().to(torch.int8).contiguous()
        odds = _odds(self.weight)
        votes = clamp(bits, self.wires.numpy(), odds, t.numpy(), self.dice.rows(len(x)))
        return _share(self.weight, *votes)

    def back(self, x: Tensor, told: Tensor) -> Tensor:
        """The code of the layer below, of the class whose own this is."""
        if self.below is None:
            return torch.zeros_like(x)
        nearest = (-told @ self.codes.t()).argmax(1)
        return -self.below[nearest] * (told != 0).any(1, keepdim=True)

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"{self.inputs}, {len(self.wires)}, wires={self.wires.shape[1]}"


class InvertibleReadout(LocalLayer):
    """A neuron a class, of all inputs: [B, I] -> sums in units of the margin [B, C]."""

    def __init__(self, inputs: int, classes: int, below: Tensor | None, threshold: float) -> None:
        super().__init__()
        self.threshold, self.below, self.dice = threshold, below, Dice()
        self.weight = nn.Parameter(torch.empty(classes, inputs).uniform_(-FIRST, FIRST))

    def answer(self, x: Tensor) -> Tensor:
        """The class with the largest sum is the answer."""
        bits = (x > self.threshold).to(x.dtype)
        K_B1 = MARGIN * (2 * bits.sum(1, keepdim=True)).clamp(min=1).sqrt()
        return bits @ read(self.weight.detach()).t() / K_B1

    def share(self, x: Tensor, told: Tensor) -> Share:
        """Votes for the label's weights and against its strongest rival's."""
        label = _label(told)
        others = self.answer(x).scatter(1, label.clamp(min=0)[:, None], -torch.inf)
        rival, odds = others.argmax(1), _odds(self.weight)
        bits = _bits(x, self.threshold)
        votes = duel(bits, odds, label.numpy(), rival.numpy(), self.dice.rows(len(x)))
        return _share(self.weight, *votes)

    def back(self, x: Tensor, told: Tensor) -> Tensor:
        """The label's code of the layer below."""
        if self.below is None:
            return torch.zeros_like(x)
        label = _label(told)
        return -self.below[label.clamp(min=0)] * (label >= 0)[:, None]

    def extra_repr(self) -> str:
        """As torch prints its own."""
        classes, inputs = self.weight.shape
        return f"{inputs}, {classes}"


def _label(told: Tensor) -> Tensor:
    """Where a loss would have more, int64 [B]; -1 where it has enough."""
    least = told.min(1)
    return least.indices.where(least.values < 0, -1)


def _bits(x: Tensor, threshold: float) -> NDArray[np.uint8]:
    return (x > threshold).to(torch.uint8).contiguous().numpy()


def _odds(counters: Tensor) -> NDArray[np.float32]:
    odds: NDArray[np.float32] = (-2 * counters.detach()).exp().contiguous().numpy()
    return odds


def _share(weight: Tensor, count: Any, votes: Any) -> Share:
    """Of each record how many votes, and all of them."""
    record = torch.from_numpy(np.repeat(np.arange(len(count)), count))
    against = torch.from_numpy(votes < 0)
    at = torch.from_numpy(np.where(votes < 0, -1 - votes, votes))
    turned = torch.where(against, 1.0, -1.0).double()

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        total = torch.zeros(weight.numel(), dtype=torch.float64)
        total.index_add_(0, at, turned * c_B.double()[record])
        return [total.view_as(weight)]

    def gradients() -> list[Tensor]:
        each = torch.zeros(len(count), weight.numel(), dtype=torch.float64)
        each[record, at] = turned
        return [each.view(-1, *weight.shape)]

    return Share(torch.from_numpy(count).double(), weighted_sum, gradients)


RULES |= {InvertibleLinear: by_itself, InvertibleReadout: by_itself}
