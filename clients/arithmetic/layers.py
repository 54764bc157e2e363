"""Linear and Conv2d on projected weights, with their per-sample gradients.

The layer trains W, and computes with alpha T = project(W). A record's gradient is that of alpha T,
carried straight through to W where |W| <= 1: it is clipped as it is, and what the window blocks
is blocked after the clip, which cannot make it longer. Per-sample norms and sums are those of
`privacy.dp.bookkeeping` for the plain layers, on words instead of reals.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clients.arithmetic.dice import Dice
from clients.arithmetic.faults import flip_words
from clients.arithmetic.projections import Project, Projected
from clients.arithmetic.straight import pass_straight, signs
from clients.draws import uniforms
from clients.protocol import Size
from privacy.dp.rules import RULES, Share


class _Straight(torch.autograd.Function):
    """The projected weights; on the way back, straight through where |W| <= 1."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, projected: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return projected.view_as(projected)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return pass_straight(g, weight), None


class Projection:
    """How a layer's weights become words: once for each of their versions, that is once a step.

    Args:
        project: rows [R, C] -> words and scales.
        scaling: `channel`, a scale for each output; `tensor`, one; `none`, a constant
            `gain` / sqrt(inputs), so that no multiplication is left in the device.
        stochastic: draw the rounding anew at each step.
        bits: of a word, of which a share of `fault_rate` flips in evaluation.
    """

    def __init__(
        self,
        project: Project,
        scaling: str,
        *,
        stochastic: bool = False,
        bits: int = 8,
        gain: float = 1.0,
        fault_rate: float = 0.0,
    ) -> None:
        self.project, self.scaling, self.stochastic = project, scaling, stochastic
        self.bits, self.gain, self.fault_rate = bits, gain, fault_rate
        self.dice = Dice()
        self._version, self._cached = -1, torch.empty(0)

    def words(self, weight: Tensor, draw: Tensor | None = None) -> Projected:
        """Words in the shape of `weight` [O, ...], and scales [O or 1, 1]."""
        rows = weight.detach().reshape(len(weight) if self.scaling == "channel" else 1, -1)
        projected = self.project(rows, draw if draw is None else draw.view_as(rows))
        scale = projected.scale
        if self.scaling == "none":
            scale = torch.full_like(scale, self.gain * weight[0].numel() ** -0.5)
        return Projected(projected.words.view_as(weight), scale)

    def __call__(self, weight: Tensor, training: bool) -> Tensor:
        """alpha T, for forward and backward passes."""
        draw = None
        if not training and self.fault_rate:
            words, scale = self.words(weight)
            if self.bits == 1:  # a bit is a sign
                words = 2 * flip_words((words + 1) / 2, 1, self.fault_rate, signed=False) - 1
            else:
                words = flip_words(words, self.bits, self.fault_rate)
            return _scaled(Projected(words, scale))
        if self.stochastic:
            if not training:
                return _scaled(self.words(weight))
            if self._version != weight._version:
                seed = np.array([self.dice.throw()], np.uint64)
                draw = torch.from_numpy(uniforms(seed, weight.numel())).view(weight.shape)
        if self._version != weight._version:
            self._cached = _scaled(self.words(weight, draw))
            self._version = weight._version
        return self._cached


def _scaled(projected: Projected) -> Tensor:
    words, scale = projected
    return words * scale.view(-1, *[1] * (words.dim() - 1))


class ArithmeticLinear(nn.Linear):
    """A dense layer on projected weights; the bias stands in the accumulator, unrounded."""

    def __init__(self, inputs: int, outputs: int, projection: Projection) -> None:
        super().__init__(inputs, outputs)
        self.projection, self.dice = projection, projection.dice

    def forward(self, x: Tensor) -> Tensor:
        """[B, I] -> [B, O]"""
        projected = self.projection(self.weight, self.training)
        return F.linear(x, _Straight.apply(self.weight, projected), self.bias)


class ArithmeticConv2d(nn.Conv2d):
    """A convolution on projected weights."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: Size,
        projection: Projection,
        *,
        stride: Size,
        padding: Size,
        groups: int = 1,
    ) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=padding, groups=groups)
        self.projection, self.dice = projection, projection.dice

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, P, Q]"""
        projected = self.projection(self.weight, self.training)
        weight = _Straight.apply(self.weight, projected)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups)


class ArithmeticConv1d(nn.Conv1d):
    """A convolution over time on projected weights."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        projection: Projection,
        *,
        stride: int,
        padding: int,
    ) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=padding)
        self.projection, self.dice = projection, projection.dice

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, L] -> [B, O, P]"""
        projected = self.projection(self.weight, self.training)
        weight = _Straight.apply(self.weight, projected)
        return F.conv1d(x, weight, self.bias, self.stride, self.padding)


class Sign(nn.Module):
    """-1 or 1, 0 counting as 1; on the way back, straight through where |x| <= 1.

    Args:
        slope: of the straight line that stands for the derivative.
    """

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """The sign of each element."""
        signed: Tensor = _Sign.apply(x, self.slope)
        return signed

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"slope={self.slope}"


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return signs(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return pass_straight(g, x, ctx.slope), None


class KeepRange(nn.Module):
    """The identity, whose gradient drives what is beyond +-limit back: a penalty on the range.

    Encrypted inference pays for each bit of an accumulator. The push is a record's own: `strength`
    times the largest magnitude of its gradient.
    """

    def __init__(self, limit: float, strength: float = 0.1) -> None:
        super().__init__()
        self.limit, self.strength = limit, strength

    def forward(self, x: Tensor) -> Tensor:
        """Pass [B, O] on."""
        passed: Tensor = _KeepRange.apply(x, self.limit, self.strength)
        return passed

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"limit={self.limit:.4g}, strength={self.strength}"


class _KeepRange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float, strength: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.note = (limit, strength)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        limit, strength = ctx.note
        push = strength * g.abs().amax(1, keepdim=True)
        return g + push * x.sign() * (x.abs() > limit), None, None


class Threshold(nn.Module):
    """A flat input in [0, 1] as 0 and 1: a background of zeros moves no weight."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """1 where x >= threshold; who asks for a gradient of x gets it straight through."""
        bits: Tensor = _Straight.apply(x, (x >= self.threshold).float())
        return bits

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"threshold={self.threshold}"


def windowed(layer: nn.Module, share: Share) -> Share:
    """The share with the weight's sum blocked where |W| > 1, after the clip."""
    weight = layer.weight
    assert isinstance(weight, Tensor)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        total, *bias = share.weighted_sum(c_B)
        return [pass_straight(total.view_as(weight), weight), *bias]

    def gradients() -> list[Tensor]:
        assert share.gradients is not None
        rows, *bias = share.gradients()
        return [rows.view(len(rows), *weight.shape) * (weight.abs() <= 1), *bias]

    return Share(share.squared_norms, weighted_sum, gradients)


def _linear(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    return windowed(layer, RULES[nn.Linear](layer, x, g))


def _conv2d(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    return windowed(layer, RULES[nn.Conv2d](layer, x, g))


def _conv1d(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    return windowed(layer, RULES[nn.Conv1d](layer, x, g))


RULES |= {ArithmeticLinear: _linear, ArithmeticConv2d: _conv2d, ArithmeticConv1d: _conv1d}
