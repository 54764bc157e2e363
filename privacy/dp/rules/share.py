"""What a rule returns: a layer's share of the records' norms and of the clipped sum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

AT_ONCE = 1 << 15  # numbers, on a processor
AT_ONCE_ELSEWHERE = 1 << 24  # on a GPU, where each call costs more than what it computes


class Share(NamedTuple):
    """One layer's share: squared per-sample norms [B], and the sum weighted by factors [B].

    Both in float64: no square is lost, and whatever the order of a sum, its rounding is less than
    2^-40 of the clip. `gradients` are those of each record and parameter, [B, ...] each, for a
    parameter that is used more than once: its gradients add before their norm is taken.
    """

    squared_norms: Tensor
    weighted_sum: Callable[[Tensor], list[Tensor]]
    gradients: Callable[[], list[Tensor]] | None = None


class Call(NamedTuple):
    """What a layer was called with; every tensor is detached."""

    inputs: tuple[Any, ...]
    named: dict[str, Any]


Rule = Callable[[nn.Module, Tensor, Tensor], Share]

# From a call and the gradients of all its outputs in floating point: the per-sample gradients
# [B, ...] of the parameters, by name.
CallRule = Callable[[nn.Module, Call, tuple[Tensor, ...]], dict[str, Tensor]]


def materialised(*gradients: Tensor) -> Share:
    """The share of parameters whose per-sample gradients [B, ...] are held."""
    rows = [g.reshape(len(g), g[0].numel() if len(g) else 0) for g in gradients]

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        return [_weighted(c_B, row) for row in rows]

    squared = torch.stack([squared_norms(row) for row in rows]).sum(0)
    return Share(squared, weighted_sum, lambda: list(gradients))


def _weighted(c_B: Tensor, rows: Tensor) -> Tensor:
    """c_B @ rows [B, n] in float64: [n]."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    at_once = _at_once(rows)
    for c, some in zip(c_B.split(at_once), rows.split(at_once), strict=True):
        total.addmv_(some.double().t(), c)
    return total


def squared_norms(rows: Tensor) -> Tensor:
    """Of rows [B, n], in float64: [B]."""
    parts = [
        torch.linalg.vector_norm(some.double(), dim=1).square()
        for some in rows.split(_at_once(rows))
    ]
    return torch.cat(parts)


def _at_once(rows: Tensor) -> int:
    """How many rows are in float64 at once: as many as a processor's cache holds."""
    numbers = AT_ONCE if rows.device.type == "cpu" else AT_ONCE_ELSEWHERE
    return max(1, numbers // max(1, rows.shape[1]))


def with_bias(layer: nn.Module, weight: Tensor, bias: Tensor) -> Share:
    """The share of a layer with a weight and perhaps a bias, whose gradients are held."""
    return materialised(weight, bias) if layer.bias is not None else materialised(weight)
