"""Binarized: a perceptron whose pixels, weights and activations are -1 or +1 (Hubara et al. 2016).

Boolean FHE pays for the width of the sums under its signs, not for their number, so a sum that
leaves [-limit, limit] is pulled back by a gradient of its own.
"""

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clients.arithmetic.plain import FloatLayers
from clients.arithmetic.protocol import Layers
from privacy.bookkeeping import RULES
from privacy.errors import ModelError

if TYPE_CHECKING:
    from clients.models import Model

PULL = 0.03  # of a sum beyond its limit, in units of the loss


class _Sign(torch.autograd.Function):
    """-1 or +1 (of 0: +1); its gradient is one within [-1, 1], or everywhere for weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, everywhere: bool) -> Tensor:
        ctx.within = None if everywhere else x.abs() <= 1
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return (g if ctx.within is None else g * ctx.within), None


class _Restrain(torch.autograd.Function):
    """The identity; adds to the gradient that of a loss on what leaves [-limit, limit]."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, limit: float) -> Tensor:
        ctx.note = (z, limit)
        return z.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        z, limit = ctx.note
        beyond = z - z.clamp(-limit, limit)
        return g + PULL / len(z) * beyond, None


class BinaryLinear(nn.Linear):
    """A dense layer with weights sign(W); the gradient goes straight through to W."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, I] -> [B, O]"""
        return F.linear(x, _Sign.apply(self.weight, True), self.bias)


# Straight through, the gradient of W is that of a dense layer on the same input.
RULES[BinaryLinear] = RULES[nn.Linear]


class Bits(nn.Module):
    """Pixels [B, H, W] -> 0 or 1 [B, H W]: is it brighter than `threshold`?

    With u = (x + 1) / 2 for x in {-1, +1}, W x + b = 2 W u + (b - sum of W): the same function, but
    a dark pixel adds nothing, so that the sums of an untrained unit lie about zero.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """A pixel at the threshold counts as dark."""
        return (x.flatten(1) > self.threshold).float()


class BinarySign(nn.Module):
    """sign(z), whose gradient passes within [-1, 1]; z is held within [-limit, limit]."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, z: Tensor) -> Tensor:
        """[B, O] -> -1 or +1 [B, O]"""
        if self.limit:
            z = _Restrain.apply(z, self.limit)
        return _Sign.apply(z, False)


class Scale(nn.Module):
    """Divides by a constant, so that sums of signs have a variance near one."""

    def __init__(self, divisor: float) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, x: Tensor) -> Tensor:
        """x / divisor"""
        return x / self.divisor


def build_binarized(
    model: "Model", shape: tuple[int, ...], num_classes: int, arithmetic: Layers
) -> nn.Module:
    """Bits of pixels, then binary dense layers with signs between; biases are real numbers.

    Raises:
        ModelError: another arithmetic was asked for.
    """
    if not isinstance(arithmetic, FloatLayers):
        raise ModelError("[model] name = 'binarized': is binary as it is; leave out [arithmetic]")
    widths = [math.prod(shape), *model.hidden]
    layers: list[nn.Module] = [Bits(model.threshold)]
    for inputs, outputs in pairwise(widths):
        root = math.sqrt(inputs) / (2 if len(layers) == 1 else 1)  # a fifth of the pixels is bright
        layers += [Scale(root), BinaryLinear(inputs, outputs), BinarySign(model.sum_limit / root)]
    root = math.sqrt(widths[-1])
    return nn.Sequential(*layers, Scale(root), BinaryLinear(widths[-1], num_classes))
