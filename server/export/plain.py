"""A model of privet's layers -> the same of torch's, with the words of its arithmetic as weights.

What rounds weights is done once and for all; what rounds activations stays, as plain operations.
Faults are not exported: they are a device's, not the model's.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from clients import layers
from clients.arithmetic.layers import (
    ArithmeticConv1d,
    ArithmeticConv2d,
    ArithmeticLinear,
    KeepRange,
    Sign,
    Threshold,
)
from clients.arithmetic.rounding import REACH, RoundGradient, RoundInput
from clients.models.nets import sequences, tabular
from privacy.errors import ModelError
from server.export import parts


def plain(net: nn.Module) -> nn.Module:
    """The same function of torch's layers and those of `parts`, in evaluation.

    Raises:
        ModelError: it has a layer that cannot be said so.
    """
    made = _plain(net).eval()
    made.requires_grad_(False)
    return made


def _plain(module: nn.Module) -> nn.Module:
    change = PLAIN.get(type(module))
    if change is not None:
        return change(module)
    if type(module).__module__.startswith("clients.arithmetic"):
        raise ModelError(
            f"{type(module).__name__}: bits, spikes and spins over time are no numbers that "
            "others can read; export a run of [arithmetic] name = 'float', 'fixed', 'ternary' or "
            "'binary', or the card"
        )
    same = copy.copy(module)
    same._modules = {
        name: child if child is None or isinstance(module, nn.MultiheadAttention) else _plain(child)
        for name, child in module._modules.items()
    }
    return same


def _weights(layer: Any) -> Tensor:
    """What a layer computes with: words times scales."""
    words, scale = layer.projection.words(layer.weight)
    projected: Tensor = words * scale.view(-1, *[1] * (words.dim() - 1))
    return projected


def _linear(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.Linear)
    made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    return _filled(made, layer)


def _conv(kind: type[nn.Conv1d] | type[nn.Conv2d]) -> Callable[[Any], nn.Module]:
    def make(layer: Any) -> nn.Module:
        made = kind(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
            layer.dilation, layer.groups, layer.bias is not None,
        )  # fmt: skip
        return _filled(made, layer)

    return make


@torch.no_grad()
def _filled(made: Any, layer: Any) -> nn.Module:
    made.weight.copy_(_weights(layer))
    if layer.bias is not None:
        made.bias.copy_(layer.bias)
    return made


def _offset(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, layers.Offset)
    made = parts.Offset(tuple(layer.offset.shape), layer.trailing)
    made.load_state_dict(layer.state_dict())
    return made


def _residual(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, layers.Residual)
    return parts.Residual(_plain(layer.body), _plain(layer.shortcut))


def _columns(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, tabular.Columns)
    return parts.Columns(
        layer.widths, nn.ModuleDict({k: _plain(v) for k, v in layer.embeddings.items()})
    )


def _places(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, sequences.Places)
    made = parts.Places(*layer.waves.shape)
    made.waves.copy_(layer.waves)
    return made


def _attention(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, sequences.SelfAttention)
    made = parts.SelfAttention(layer.heads.embed_dim, layer.heads.num_heads)
    made.load_state_dict(layer.state_dict())
    return made


def _group_norm(layer: nn.Module) -> nn.Module:
    """torch's own cannot be said in ONNX of records of one axis."""
    assert isinstance(layer, nn.GroupNorm)
    made = parts.GroupNorm(layer.num_groups, layer.num_channels, layer.eps, layer.affine)
    made.load_state_dict(layer.state_dict())
    return made


def _kept(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, layers.Kept)
    return parts.Kept(_plain(layer.activation), layer.top, layer.least)


def _pool(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, layers.MaxPool2d)
    return nn.MaxPool2d(layer.size, layer.stride)


PLAIN: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    ArithmeticLinear: _linear,
    ArithmeticConv1d: _conv(nn.Conv1d),
    ArithmeticConv2d: _conv(nn.Conv2d),
    RoundInput: lambda layer: parts.Words(layer.bits, REACH[layer.bits]),
    RoundGradient: lambda _: nn.Identity(),
    KeepRange: lambda _: nn.Identity(),
    Sign: lambda _: parts.Sign(),
    Threshold: lambda layer: parts.Threshold(layer.threshold),
    layers.AddChannel: lambda _: parts.AddChannel(),
    layers.Square: lambda _: parts.Square(),
    layers.MaxPool2d: _pool,
    nn.GroupNorm: _group_norm,
    layers.Kept: _kept,
    layers.Residual: _residual,
    layers.Offset: _offset,
    tabular.Columns: _columns,
    sequences.Places: _places,
    sequences.SelfAttention: _attention,
    sequences.MeanToken: lambda _: parts.MeanToken(),
    sequences.Recurrent: lambda layer: parts.Recurrent(layer.cells),
}
