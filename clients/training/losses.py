"""What training makes small, by `[data] task`: a loss of each record by itself."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from privacy.dp import compiled
from privacy.dp.kernels import losses
from privacy.dp.rules import softmax_cross_entropy

# From outputs [B, K] and targets: of each record, [B].
Loss = Callable[[Tensor, Tensor], Tensor]


def binary_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Of labels float32 [B, K], each there or not: the mean over them."""
    return F.binary_cross_entropy_with_logits(outputs, y, reduction="none").mean(1)


def huber(outputs: Tensor, y: Tensor) -> Tensor:
    """Of a number float32 [B, 1]: squared when near, absolute when far (Huber 1964)."""
    return F.huber_loss(outputs, y, reduction="none").mean(1)


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Of what a record is itself, float32 [B, K]: the mean over its numbers."""
    return F.mse_loss(outputs, y, reduction="none").mean(1)


LOSSES: dict[str, Loss] = {
    "classes": softmax_cross_entropy,
    "labels": binary_cross_entropy,
    "number": huber,
    "itself": squared_error,
}

compiled.LOSSES[binary_cross_entropy] = losses.binary
compiled.LOSSES[huber] = losses.huber
compiled.LOSSES[squared_error] = losses.squares
