"""Weights that are used at each of T steps, and what a record's gradient of them is.

A record's gradient is the sum over its steps, sum_t g_t x_t^T, and its norm that of the sum: not of
the parts. For a dense layer it needs no matrix of its own: its square is

    sum_{t,t'} (g_t . g_t') (x_t . x_t')

(the ghost norm of Li et al., "Large language models can be strong differentially private learners",
ICLR 2022, section 4), and the clipped sum is one matrix product over records and steps.

Shapes: B records, T steps, I inputs, O outputs, C channels, H x W images, K kernel elements x C, P
positions of all steps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privacy.dp.rules import RULES, Share, materialised


class SpikingLinear(nn.Linear):
    """A dense layer on [B, I], or at each step of [B, T, I]."""


class SpikingConv2d(nn.Conv2d):
    """A convolution of [B, C, H, W], or at each step of [B, T, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        """The same for all steps."""
        if x.dim() == 4:
            return super().forward(x)
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2]).clone()


def _linear(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    plain = RULES[nn.Linear]
    if x.dim() != 3 or not len(x):
        return plain(layer, x, g)
    (_, T, I), O = x.shape, g.shape[2]  # noqa: E741
    if T * (I + O) > I * O:  # as many steps as the matrix has rows: it is the cheaper
        return plain(layer, x, g)
    x_BTI, g_BTO = x.double(), g.double()
    between = torch.bmm(x_BTI, x_BTI.transpose(1, 2)) + (layer.bias is not None)
    squared = (between * torch.bmm(g_BTO, g_BTO.transpose(1, 2))).sum((1, 2)).clamp(min=0)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        weighted = (g_BTO * c_B[:, None, None]).flatten(0, 1)
        total = weighted.t() @ x_BTI.flatten(0, 1)
        return [total, weighted.sum(0)] if layer.bias is not None else [total]

    def gradients() -> list[Tensor]:
        weight = torch.bmm(g_BTO.transpose(1, 2), x_BTI)
        return [weight, g_BTO.sum(1)] if layer.bias is not None else [weight]

    return Share(squared, weighted_sum, gradients)


def _conv2d(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    if x.dim() != 5:
        return RULES[nn.Conv2d](layer, x, g)
    assert isinstance(layer, SpikingConv2d)
    assert not isinstance(layer.padding, str)
    (down, along), (high, wide) = layer.padding, layer.kernel_size
    x_BTHWC = F.pad(x, (along, along, down, down)).movedim(2, -1)
    windows = x_BTHWC.unfold(2, high, layer.stride[0]).unfold(3, wide, layer.stride[1])
    # The channels stand last, as they lie in memory: a window's row is copied in one piece.
    x_BPK = windows.movedim(4, -1).flatten(4).flatten(1, 3)
    g_BPO = g.movedim(2, -1).flatten(1, 3)
    weight = torch.bmm(g_BPO.transpose(1, 2), x_BPK).unflatten(2, (high, wide, -1)).movedim(-1, 2)
    return materialised(weight, g_BPO.sum(1)) if layer.bias is not None else materialised(weight)


RULES |= {SpikingLinear: _linear, SpikingConv2d: _conv2d}
