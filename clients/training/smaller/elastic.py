"""Layers of which a smaller net uses the first filters and channels, and their per-sample rules.

A cut is a layer of the smaller net's own, which tells how to compute; the weights that it computes
with are the leading ones of the whole layer's. A layer that several nets call in one pass is taken
for what it is: one set of weights, whose gradients of a record add before their norm is taken.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from privacy.dp.rules import RULES, SEVERAL, Share, materialised

CUT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.GroupNorm)


class Elastic(nn.Module):
    """A layer and its cuts.

    Args:
        layer: whole; its parameters become this one's.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.cuts = {shape_of(layer): layer}  # a dict hides them: they have no weights of their own
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
        """What the layer gives, or its cut with weights of that shape."""
        if shape is None:
            whole: Tensor = next(iter(self.cuts.values()))(x)
            return whole
        cut = self.cuts[shape]
        leading = {name: leading_of(p, like) for name, p, like in self._pairs(cut)}
        narrow: Tensor = functional_call(cut, leading, (x,))
        return narrow

    def _pairs(self, cut: nn.Module) -> list[tuple[str, Tensor, Tensor]]:
        own = dict(self.named_parameters())
        return [(name, own[name], like) for name, like in cut.named_parameters()]

    def called(self, x: Tensor, g: Tensor) -> nn.Module:
        """The cut that read x [B, ...] and gave what has the gradient g [B, ...]."""
        return next(c for c in self.cuts.values() if sides_of(c) == (_width(c, x), _width(c, g)))


class Narrow(nn.Module):
    """In the place of a layer of a smaller net: the cut of an elastic one."""

    def __init__(self, elastic: Elastic, layer: nn.Module) -> None:
        super().__init__()
        self._elastic, self._shape = [elastic], shape_of(layer)  # a list hides it
        elastic.cuts.setdefault(self._shape, layer)

    def forward(self, x: Tensor) -> Tensor:
        """By the elastic layer itself, so that whoever watches that sees it."""
        given: Tensor = self._elastic[0](x, self._shape)
        return given


def shape_of(layer: nn.Module) -> tuple[int, ...]:
    """Of its weights: no two cuts of a layer have the same."""
    assert isinstance(layer.weight, Tensor)
    return tuple(layer.weight.shape)


def leading_of(whole: Tensor, like: Tensor) -> Tensor:
    """The first of each axis, as many as `like` has."""
    return whole[tuple(slice(0, n) for n in like.shape)]


def sides_of(layer: Any) -> tuple[int, int]:
    """Channels that a layer reads and gives."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels, layer.num_channels
    return layer.in_channels, layer.out_channels


def _width(layer: nn.Module, t: Tensor) -> int:
    return t.shape[-1] if isinstance(layer, nn.Linear) else t.shape[1]


def _padded(part: Tensor, like: Tensor, lead: int = 0) -> Tensor:
    """Zeros behind the parts of an axis, up to the shape of `like`; `lead` axes stay."""
    pairs = zip(part.shape[lead:], like.shape, strict=True)
    missing = [side for have, want in reversed(list(pairs)) for side in (0, want - have)]
    return nn.functional.pad(part, missing)


def _share(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """Of one call: the cut's own share, among zeros."""
    assert isinstance(layer, Elastic)
    cut, whole = layer.called(x, g), list(layer.parameters())
    own = RULES[type(cut)](cut, x, g)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        sums = zip(own.weighted_sum(c_B), cut.parameters(), whole, strict=True)
        return [_padded(total.view_as(part), like) for total, part, like in sums]

    def gradients() -> list[Tensor]:
        assert own.gradients is not None
        rows = zip(own.gradients(), cut.parameters(), whole, strict=True)
        return [_padded(r.view(len(r), *part.shape), like, 1) for r, part, like in rows]

    return Share(own.squared_norms, weighted_sum, gradients)


def _several(layer: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> Share:
    """Of all calls in a pass.

    Of a dense layer the gradient is sum_k g_k x_k^T, whose squared norm is the sum over k and l of
    (g_k . g_l)(x_k . x_l), and none is held: shapes B samples, K calls, I inputs, O outputs.
    """
    assert isinstance(layer, Elastic)
    whole = list(layer.parameters())
    dense = all(x.dim() == 2 and isinstance(layer.called(x, g), nn.Linear) for x, g in calls)
    if not dense:
        found = [_share(layer, x, g).gradients for x, g in calls]
        rows = [f() for f in found if f is not None]
        return materialised(*(sum(parts[1:], parts[0]) for parts in zip(*rows, strict=True)))
    outputs, inputs = whole[0].shape
    x_BKI = torch.stack([_to(x, inputs) for x, _ in calls], 1).double()
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


RULES[Elastic] = _share
SEVERAL[Elastic] = _several
