"""Layers that learn by a rule of their own, from what they see: no gradient of a loss reaches them.

What a record changes follows from it, what is thrown for it, and the weights at the step's start.
So the change, with its sign turned, takes the place of the record's gradient: it is clipped,
summed, noised and charged like one, and the optimizer descends it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from privacy.dp.rules import Share


class LocalLayer(nn.Module):
    """Such a layer: its type has `by_itself` as its rule in `privacy.dp.rules.RULES`."""

    def answer(self, x: Tensor) -> Tensor:
        """What comes out for records [B, ...], without a way back."""
        raise NotImplementedError

    def share(self, x: Tensor) -> Share:
        """What each record changes, its sign turned, as a gradient's share."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Answer records."""
        answer: Tensor = _Learning.apply(x, self, *self.parameters())
        return answer


def by_itself(layer: nn.Module, x: Tensor, _: Tensor) -> Share:
    """The rule of a local layer, whatever the gradient of its output."""
    assert isinstance(layer, LocalLayer)
    return layer.share(x)


class _Learning(torch.autograd.Function):
    """Gradients of a mean loss over records are the mean of what they change, its sign turned.

    Nothing of the loss comes farther back: zeros do, so that layers before learn, too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: LocalLayer, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer = layer
        return layer.answer(x.detach())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        back = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        wanted = ctx.needs_input_grad[2:]
        if not any(wanted):
            return back, None, *(None for _ in wanted)
        mean = torch.full((len(x),), 1 / len(x), dtype=torch.float64)
        changes = ctx.layer.share(x).weighted_sum(mean)
        return back, None, *(change.to(x.dtype) for change in changes)
