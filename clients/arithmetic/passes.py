"""What a model's arithmetic is told before a pass and after an update."""

import torch
from torch import Tensor, nn

from clients.arithmetic.dice import Dice
from clients.arithmetic.layers import ArithmeticConv1d, ArithmeticConv2d, ArithmeticLinear
from clients.arithmetic.streams.stochastic import StochasticLinear
from privacy.cipher import Key, Stream


def dice_of(model: nn.Module) -> list[Dice]:
    """All that the model's arithmetic throws."""
    found = (getattr(module, "dice", None) for module in model.modules())
    return [dice for dice in found if isinstance(dice, Dice)]


def begin_pass(dice: list[Dice], step: Key, records: Tensor) -> None:
    """Before a pass over some records, int64 [B], of a step's batch."""
    for one, word in zip(dice, Stream(step).words(len(dice)).tolist(), strict=True):
        one.begin(word, records.numpy())


@torch.no_grad()
def constrain(model: nn.Module) -> None:
    """After an update: keep weights in the [-1, 1] of their straight-through window."""
    windowed = (ArithmeticLinear, ArithmeticConv1d, ArithmeticConv2d, StochasticLinear)
    for module in model.modules():
        if isinstance(module, windowed):
            module.weight.clamp_(-1, 1)
