"""A whole spiking net, and what can be seen of it on its way: early answers, and its spikes.

The last layer has neurons that neither leak nor fire: what it gives is the mean of their current
over time. Since that is linear, it reads the mean of the spikes, once.

Shapes: B records, T steps, N neurons, K outputs.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from clients.arithmetic.spiking.coding import Encoder
from clients.arithmetic.spiking.neurons import Neurons
from clients.arithmetic.spiking.plasticity import PlasticLinear

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


def watch(model: nn.Module, x: Tensor) -> Fired:
    """As `SpikingChain.watch`, of a model with or without a pooling of the records before it."""
    chains = [model] if isinstance(model, SpikingChain) else list(model.children())
    *before, chain = chains
    assert isinstance(chain, SpikingChain)
    for layer in before:
        x = layer(x)
    model.eval()
    return chain.watch(x)


def is_spiking(model: nn.Module) -> bool:
    """Is there time in it?"""
    return any(isinstance(module, SpikingChain) for module in model.modules())
