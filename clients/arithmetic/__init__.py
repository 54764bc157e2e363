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
pbits/        invertible logic, and a Boltzmann machine of p-bits
local         layers that learn by a rule of their own, from what they see
dice          random draws, by step and by record
faults        bits that flip
passes        what a model's arithmetic is told before and after a step
export        a binarized net, for boolean FHE
"""

from collections.abc import Callable
from typing import Any

from clients.arithmetic.settings import ARITHMETICS, Arithmetic, Numbers
from clients.protocol import Formats, later

__all__ = ["ARITHMETICS", "Arithmetic", "Numbers"]


def _layers(name: str) -> Callable[..., Any]:
    return later(f"clients.arithmetic.{name}")


ARITHMETICS |= {
    "float": Numbers(
        lambda _: _layers("plain:FloatLayers")(), lambda _: Formats("float", 32, 32, 32)
    ),
    "fixed": Numbers(_layers("fixed:FixedLayers"), lambda a: a.words("fixed", a.bits)),
    "ternary": Numbers(_layers("fixed:FixedLayers"), lambda a: a.words("ternary", 2)),
    "binary": Numbers(_layers("fixed:FixedLayers"), lambda a: a.words("binary", 1)),
    "stochastic": Numbers(
        _layers("streams.layers:StochasticLayers"),
        lambda a: Formats("stochastic", 1, 1, 2, a.stream_length),
    ),
    "spiking": Numbers(
        _layers("spiking.layers:SpikingLayers"), lambda _: Formats("spiking", 32, 1, 32)
    ),
    "p-bits": Numbers(_layers("pbits.layers:PbitLayers"), lambda _: Formats("p-bits", 32, 1, 32)),
    "invertible": Numbers(
        _layers("pbits.layers:InvertibleLayers"), lambda _: Formats("invertible", 2, 1, 32)
    ),
}
