"""A whole spiking net, and what can be seen of it on its way: early answers, and its spikes.

The last layer has neurons that neither leak nor fire: what it gives is the mean of their current
over time. Since that is linear, it reads the mean of the spikes, once.

Shapes: B records, T steps, N neurons, K outputs.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clients.arithmetic.spiking.coding import Encoder
from clients.arithmetic.spiking.neurons import Neurons
from clients.arithmetic.spiking.plasticity import PlasticLinear
from clients.layers import MaxPool2d

FIRING = (Neurons, PlasticLinear)


class AtEachStep(nn.Module):
    """A layer without weights, which knows no time: [B, T, ...] -> [B, T, ...]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The same for all steps."""
        y: Tensor = self.layer(x.flatten(0, 1))
        return y.view(*x.shape[:2], *y.shape[1:])


class OverTime(nn.Module):
    """The mean of all steps: [B, T, ...] -> [B, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """Of spikes."""
        return x.mean(1)


class Fired(NamedTuple):
    """What was seen of a net while it answered.

    Attributes:
        outputs: what it would have answered after each step, [T, B, K].
        spikes: by layer, summed over records, int64 [T, N].
    """

    outputs: Tensor
    spikes: dict[str, Tensor]


class SpikingChain(nn.Sequential):
    """Layers one after another, the time between its first neurons and `OverTime`."""

    def forward(self, x: Tensor) -> Tensor:
        """As of a sequence. In training neurons and the pooling of their spikes are one kernel."""
        done = None
        for layer, after in pairwise([*self, None]):
            if self.training and _are_one(layer, after, x):
                assert isinstance(layer, Neurons)
                x, done = layer.pooled(x), after
            elif layer is not done:
                assert layer is not None
                x = layer(x)
        return x

    def watch(self, x: Tensor) -> Fired:
        """Answer records [B, ...], looking on."""
        spikes: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, layer in self.named_children():
                if isinstance(layer, OverTime):
                    steps = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)
                    x = x.cumsum(1) / steps.view(1, -1, *[1] * (x.dim() - 2))
                    continue
                x = layer(x)
                if isinstance(layer, FIRING) or (isinstance(layer, Encoder) and layer.fires):
                    what = "neurons" if isinstance(layer, FIRING) else "inputs"
                    spikes[f"{what} {name}"] = x.flatten(2).sum(0).long()
        return Fired(x.transpose(0, 1), spikes)


def _are_one(layer: nn.Module | None, after: nn.Module | None, x: Tensor) -> bool:
    """Neurons on images, of whose spikes the largest in windows 2x2, stride 1, are read."""
    if not isinstance(layer, Neurons) or not isinstance(after, AtEachStep):
        return False
    pool, images = after.layer, x.dim() == (4 if layer.held else 5) and min(x.shape[-2:]) > 1
    return images and x.dtype == torch.float32 and isinstance(pool, MaxPool2d) and pool.overlaps


def watch(model: nn.Module, x: Tensor) -> Fired:
    """As `SpikingChain.watch`, of a model with or without a pooling of the records before it."""
    before, chain = parts(model)
    model.eval()
    return chain.watch(before(x))


def parts(model: nn.Module) -> tuple[nn.Module, SpikingChain]:
    """What pools the records, if anything does, and the chain behind it."""
    *before, chain = [model] if isinstance(model, SpikingChain) else model.children()
    assert isinstance(chain, SpikingChain)
    return nn.Sequential(*before), chain


def most_numbers(model: nn.Module, inputs: Sequence[int]) -> int:
    """Of a record [*inputs]: how many numbers stand between two layers where there are most, all
    time steps together; 0 of a net in which no gradient goes through time."""
    if not any(isinstance(layer, Neurons) for layer in model.modules()):
        return 0
    training = model.training
    fired = watch(model, torch.zeros(1, *inputs))
    model.train(training)
    return max(counts.numel() for counts in fired.spikes.values())


def is_spiking(model: nn.Module) -> bool:
    """Is there time in it?"""
    return any(isinstance(module, SpikingChain) for module in model.modules())
