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

    def share(self, x: Tensor, told: Tensor) -> Share:
        """What each record changes, its sign turned, as a gradient's share.

        Args:
            told: what came back to the layer's outputs, which most rules do not read.
        """
        raise NotImplementedError

    def back(self, x: Tensor, told: Tensor) -> Tensor:
        """What is told the layer below: nothing of the loss, unless a rule knows what."""
        return torch.zeros_like(x)

    def forward(self, x: Tensor) -> Tensor:
        """Answer records."""
        answer: Tensor = _Learning.apply(x, self, *self.parameters())
        return answer


def by_itself(layer: nn.Module, x: Tensor, told: Tensor) -> Share:
    """The rule of a local layer."""
    assert isinstance(layer, LocalLayer)
    return layer.share(x, told)


class _Learning(torch.autograd.Function):
    """Gradients of a mean loss over records are the mean of what they change, its sign turned.

    What comes farther back is the layer's own word: zeros at least, so that layers before learn.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: LocalLayer, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer = layer
        return layer.answer(x.detach())

    @staticmethod
    def backward(ctx: Any, told: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        back = ctx.layer.back(x, told) if ctx.needs_input_grad[0] else None
        wanted = ctx.needs_input_grad[2:]
        if not any(wanted):
            return back, None, *(None for _ in wanted)
        mean = torch.full((len(x),), 1 / len(x), dtype=torch.float64)
        changes = ctx.layer.share(x, told).weighted_sum(mean)
        return back, None, *(change.to(x.dtype) for change in changes)
