"""[arithmetic]: in which numbers a device computes, by name.

A new arithmetic is a class that gives a model its `Layers`, entered in `ARITHMETICS` with the
formats of its numbers. Trained layers of a new type have a rule in `privacy.dp.rules.RULES`;
new words for the weights of `FixedLayers` need no new type, only another `projection`.

settings      [arithmetic]
plain         float
fixed         weights in few bits, activations and gradients in words
layers        dense layers and convolutions on projected weights
projections   from real weights to words
rounding      of activations and gradients
straight      straight-through estimators
streams/      stochastic computing
spiking/      neurons that leak and fire, over time
pbits/        invertible logic
dice          random draws, by step and by record
faults        bits that flip
export        a binarized net, for boolean FHE
"""

import torch
from torch import Tensor, nn

from clients.arithmetic.dice import Dice
from clients.arithmetic.fixed import FixedLayers
from clients.arithmetic.layers import ArithmeticConv1d, ArithmeticConv2d, ArithmeticLinear
from clients.arithmetic.plain import FloatLayers
from clients.arithmetic.settings import ARITHMETICS, Arithmetic, Numbers
from clients.arithmetic.spiking.layers import SpikingLayers
from clients.arithmetic.spiking.plasticity import PlasticLinear
from clients.arithmetic.streams.layers import StochasticLayers
from clients.arithmetic.streams.stochastic import StochasticLinear
from clients.protocol import Formats
from privacy.cipher import Key, Stream

__all__ = ["ARITHMETICS", "Arithmetic", "Numbers", "begin_pass", "constrain", "dice_of"]

ARITHMETICS |= {
    "float": Numbers(lambda _: FloatLayers(), lambda _: Formats("float", 32, 32, 32)),
    "fixed": Numbers(FixedLayers, lambda a: a.words("fixed", a.bits)),
    "ternary": Numbers(FixedLayers, lambda a: a.words("ternary", 2)),
    "binary": Numbers(FixedLayers, lambda a: a.words("binary", 1)),
    "stochastic": Numbers(
        StochasticLayers, lambda a: Formats("stochastic", 1, 1, 2, a.stream_length)
    ),
    "spiking": Numbers(SpikingLayers, lambda _: Formats("spiking", 32, 1, 32)),
}


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
        elif isinstance(module, PlasticLinear):
            module.constrain()
