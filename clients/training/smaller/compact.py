"""The smaller net that a net with pruned filters is: what gives nothing, or is not read, left out.

A filter whose weights and bias are zero gives zero, and an activation of it is zero; a filter whose
every reader has a zero for it is not read. Either way the answers are those of the net without it.
That holds along a chain: what stands beside a shortcut, and what a norm mixes, stays as it is.
"""

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from clients.layers import Kept, MaxPool2d, Square

# Layers in which a channel of zeros gives one of zeros, and no channel sees another.
APART = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh, Square),
    *(nn.Flatten, nn.Identity, nn.Dropout, MaxPool2d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
)


def compact(net: nn.Module) -> nn.Module:
    """The same function of fewer filters; `net` itself is left as it is.

    Only a chain (`nn.Sequential`) of dense layers and plain convolutions gets smaller.
    """
    if type(net) is not nn.Sequential:
        return net
    layers = list(net)
    owners = [i for i, layer in enumerate(layers) if _is_product(layer)]
    for first, then in pairwise(owners):
        between = layers[first + 1 : then]
        flat = type(layers[first]) is type(layers[then]) or any(map(_flattens, between))
        if flat and all(map(_is_apart, between)):
            layers[first], layers[then] = _joined(layers[first], layers[then])
    same = all(now is before for now, before in zip(layers, net, strict=True))
    return net if same else nn.Sequential(*layers)


def _is_product(layer: nn.Module) -> bool:
    plain = type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d)
    return plain and getattr(layer, "groups", 1) == 1


def _flattens(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and layer.start_dim == 1


def _is_apart(layer: nn.Module) -> bool:
    if type(layer) is Kept:  # of whose top as many are to be left
        return not layer.top and type(layer.activation) in APART
    return type(layer) in APART


@torch.no_grad()
def _joined(first: nn.Module, then: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Two layers, one reading the other, with the filters between them that matter."""
    wide: Any = first
    reading: Any = then
    read = _by_channel(reading.weight, len(wide.weight))
    gives = (wide.weight.flatten(1) != 0).any(1)
    if wide.bias is not None:
        gives |= wide.bias != 0
    matters = gives & (read != 0).flatten(2).any(2).any(0)
    if matters.all():
        return first, then
    if not matters.any():
        matters[0] = True  # a layer has a filter
    bias = None if wide.bias is None else wide.bias[matters]
    columns = read[:, matters].reshape(len(read), -1, *reading.weight.shape[2:])
    return _with(first, wide.weight[matters], bias), _with(then, columns, reading.bias)


def _by_channel(weight: Tensor, channels: int) -> Tensor:
    """Weights [O, I, ...] as [O, channels, of each, ...]: of pixels, where a dense layer reads."""
    return weight.unflatten(1, (channels, -1))


def _with(layer: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A layer of the same kind with other weights."""
    made = copy.copy(layer)
    made._parameters = dict(layer._parameters)
    made.weight = nn.Parameter(weight.clone().contiguous(), layer.weight.requires_grad)
    made.bias = None if bias is None else nn.Parameter(bias.clone(), layer.weight.requires_grad)
    inputs, outputs = weight.shape[1], weight.shape[0]
    if isinstance(layer, nn.Linear):
        made.in_features, made.out_features = inputs, outputs
    else:
        made.in_channels, made.out_channels = inputs, outputs
    return made
