"""Layers of which a smaller net uses a part of the weights, and their per-sample rules.

The part is the first filters and channels, and of a kernel the middle; it may be rounded to words
of some bits. A cut is a layer of the smaller net's own, which tells how to compute; the weights
that it computes with are the whole layer's. A layer that several nets call in one pass is taken for
what it is: one set of weights, whose gradients of a record add before their norm is taken.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clients.arithmetic.layers import ArithmeticConv1d, ArithmeticConv2d, ArithmeticLinear
from privacy.dp.rules import RULES, SEVERAL, Call, Share, materialised

PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.GroupNorm)
CUT = (*PLAIN, ArithmeticLinear, ArithmeticConv1d, ArithmeticConv2d)
Key = tuple[tuple[int, ...], int]  # no two cuts of a layer have the same
FLOAT_BITS = 32


class Elastic(nn.Module):
    """A layer and its cuts.

    Args:
        layer: whole; its parameters become this one's.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.cuts = {key_of(layer): layer}  # a dict hides them: they have no weights of their own
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor, key: Key | None = None) -> Tensor:
        """What the layer gives, or one of its cuts."""
        cut = self.cut_of(key)
        if key is None:
            whole: Tensor = cut(x)
            return whole
        part = {name: p[places_of(p.shape, like.shape)] for name, p, like in self._pairs(cut)}
        narrow: Tensor = functional_call(cut, part, (x,))
        return narrow

    def cut_of(self, key: Key | None = None) -> nn.Module:
        """A cut; without a key the whole layer."""
        return next(iter(self.cuts.values())) if key is None else self.cuts[key]

    def _pairs(self, cut: nn.Module) -> list[tuple[str, Tensor, Tensor]]:
        own = dict(self.named_parameters())
        return [(name, own[name], like) for name, like in cut.named_parameters()]


class Narrow(nn.Module):
    """In the place of a layer of a smaller net: the cut of an elastic one."""

    def __init__(self, elastic: Elastic, layer: nn.Module) -> None:
        super().__init__()
        self._elastic, self._key = [elastic], key_of(layer)  # a list hides it
        elastic.cuts.setdefault(self._key, layer)

    def forward(self, x: Tensor) -> Tensor:
        """By the elastic layer itself, so that whoever watches that sees it."""
        given: Tensor = self._elastic[0](x, self._key)
        return given


def key_of(layer: Any) -> Key:
    """The shape of its weights, and their bits."""
    bits = layer.projection.bits if hasattr(layer, "projection") else FLOAT_BITS
    return tuple(layer.weight.shape), bits


def places_of(whole: tuple[int, ...], part: tuple[int, ...]) -> tuple[slice, ...]:
    """Where a part of weights lies in the whole: the first of outputs and inputs, and the middle of
    what comes behind, a kernel's rows and columns."""
    firsts = (
        (n - m) // 2 if axis > 1 else 0 for axis, (n, m) in enumerate(zip(whole, part, strict=True))
    )
    return tuple(slice(first, first + m) for first, m in zip(firsts, part, strict=True))


def _padded(part: Tensor, like: Tensor, lead: int = 0) -> Tensor:
    """A part where it lies in the shape of `like`, among zeros; `lead` axes stay."""
    grown = part.new_zeros(*part.shape[:lead], *like.shape)
    grown[(slice(None),) * lead + places_of(like.shape, part.shape[lead:])] = part
    return grown


def _share(layer: Elastic, call: Call, g: Tensor) -> Share:
    """Of one call: the cut's own share, among zeros. What rounds weights is passed straight."""
    cut, whole = _called(layer, call), list(layer.parameters())
    rule = next(RULES[kind] for kind in PLAIN if isinstance(cut, kind))
    own = rule(cut, call.inputs[0], g)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        sums = zip(own.weighted_sum(c_B), cut.parameters(), whole, strict=True)
        return [_padded(total.view_as(part), like) for total, part, like in sums]

    def gradients() -> list[Tensor]:
        assert own.gradients is not None
        rows = zip(own.gradients(), cut.parameters(), whole, strict=True)
        return [_padded(r.view(len(r), *part.shape), like, 1) for r, part, like in rows]

    return Share(own.squared_norms, weighted_sum, gradients)


def _called(layer: Elastic, call: Call) -> nn.Module:
    return layer.cut_of(*call.inputs[1:])


def _several(layer: nn.Module, calls: list[tuple[Call, Tensor]]) -> Share:
    """Of all calls in a pass.

    Of a dense layer the gradient is sum_k g_k x_k^T, whose squared norm is the sum over k and l of
    (g_k . g_l)(x_k . x_l), and none is held: shapes B samples, K calls, I inputs, O outputs.
    """
    assert isinstance(layer, Elastic)
    whole = list(layer.parameters())
    dense = all(
        call.inputs[0].dim() == 2 and isinstance(_called(layer, call), nn.Linear)
        for call, _ in calls
    )
    if not dense:
        found = [_share(layer, call, g).gradients for call, g in calls]
        rows = [f() for f in found if f is not None]
        return materialised(*(sum(parts[1:], parts[0]) for parts in zip(*rows, strict=True)))
    outputs, inputs = whole[0].shape
    x_BKI = torch.stack([_to(call.inputs[0], inputs) for call, _ in calls], 1).double()
    g_BKO = torch.stack([_to(g, outputs) for _, g in calls], 1).double()
    biased = len(whole) > 1
    products = torch.bmm(x_BKI, x_BKI.transpose(1, 2)) + biased
    squared = (torch.bmm(g_BKO, g_BKO.transpose(1, 2)) * products).flatten(1).sum(1)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        weighted = (g_BKO * c_B[:, None, None]).flatten(0, 1)
        total = weighted.t() @ x_BKI.flatten(0, 1)
        return [total, weighted.sum(0)] if biased else [total]

    return Share(squared.clamp(min=0), weighted_sum)


def _to(rows: Tensor, width: int) -> Tensor:
    return nn.functional.pad(rows, (0, width - rows.shape[1]))


def _one(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """Of one call of the whole layer."""
    return _several(layer, [(Call((x,), {}), g)])


RULES[Elastic] = _one
SEVERAL[Elastic] = _several
