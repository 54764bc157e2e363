"""A model of privet's layers -> the same of torch's, with the words of its arithmetic as weights.

What rounds weights is done once and for all; what rounds activations stays, as plain operations.
Faults are left out: they are a device's, not the model's.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils import skip_init

from clients import layers
from clients.arithmetic.layers import (
    ArithmeticConv1d,
    ArithmeticConv2d,
    ArithmeticLinear,
    KeepRange,
    Sign,
    Threshold,
)
from clients.arithmetic.projections import Projected
from clients.arithmetic.rounding import REACH, RoundGradient, RoundInput
from clients.models.nets import sequences, tabular
from clients.training.plain import parts
from clients.training.plain.doubles import in_doubles
from privacy.errors import ModelError

PRODUCTS = ArithmeticLinear, ArithmeticConv1d, ArithmeticConv2d


def plain(net: nn.Module) -> nn.Module:
    """The same function of torch's layers and those of `parts`, in evaluation; it shares no weight
    with `net`.

    Raises:
        ModelError: it has a layer that cannot be said so.
    """
    made = in_doubles(_plain(net)).eval()
    made.requires_grad_(False)
    return made


def answering(net: nn.Module) -> nn.Module:
    """Who is asked in evaluation: of a net of words its plain form, if that is in doubles; else the
    net itself."""
    made = plain(net) if _in_words(net) else net
    return made if isinstance(made, parts.Doubles) else net


def _in_words(net: nn.Module) -> bool:
    """Has it products of words, of which no bit flips?"""
    products = [m for m in net.modules() if isinstance(m, PRODUCTS)]
    rounded = [m for m in net.modules() if isinstance(m, RoundInput)]
    faults = [m.projection.fault_rate for m in products] + [m.fault_rate for m in rounded]
    return bool(products) and not any(faults)


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
    if not module._modules or isinstance(module, nn.MultiheadAttention):
        return copy.deepcopy(module)
    same = copy.copy(module)
    for kind in ("_parameters", "_buffers"):
        setattr(same, kind, copy.deepcopy(getattr(module, kind)))
    same._modules = {
        name: None if child is None else _plain(child) for name, child in module._modules.items()
    }
    return same


def _chain(chain: nn.Sequential) -> nn.Module:
    return nn.Sequential(*_joined(list(chain)))


def _joined(chain: list[nn.Module]) -> Iterator[nn.Module]:
    """What rounds a product's inputs becomes a part of it."""
    for place, layer in enumerate(chain):
        before = chain[place - 1] if place else None
        after = chain[place + 1] if place + 1 < len(chain) else None
        if isinstance(layer, RoundInput) and isinstance(after, PRODUCTS):
            continue
        if isinstance(layer, PRODUCTS) and isinstance(before, RoundInput):
            yield from _product(layer, _words(before))
        else:
            yield _plain(layer)


def _words(layer: RoundInput) -> parts.Words:
    return parts.Words(layer.bits, REACH[layer.bits])


@torch.no_grad()
def _product(layer: Any, words: parts.Words | None = None) -> Iterator[nn.Module]:
    """Of whole words one layer; of others, which a projection of a user's may give, torch's own on
    the numbers that they stand for."""
    projected = layer.projection.words(layer.weight)
    whole = projected.words.to(torch.int8)
    if not torch.equal(whole.to(projected.words.dtype), projected.words):
        yield from () if words is None else (words,)
        yield _of_floats(layer, projected)
        return
    convolves = not isinstance(layer, nn.Linear)
    more = (layer.stride, layer.padding, layer.dilation, layer.groups) if convolves else ()
    made = parts.InWords(tuple(layer.weight.shape), words, more)
    made.words_of_weights.copy_(whole)
    made.scale.copy_(projected.scale[:, 0])
    if layer.bias is not None:
        made.bias.copy_(layer.bias)
    yield made


def _of_floats(layer: Any, projected: Projected) -> nn.Module:
    kind: type[nn.Module]
    more: tuple[Any, ...]
    if isinstance(layer, nn.Linear):
        kind, more = nn.Linear, (layer.in_features, layer.out_features)
    else:
        kind = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Conv1d
        more = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride,
                layer.padding, layer.dilation, layer.groups)  # fmt: skip
    made: Any = skip_init(kind, *more, bias=layer.bias is not None)  # draws nothing
    made.weight.copy_(projected.words * projected.scale.view(-1, *[1] * (made.weight.dim() - 1)))
    if layer.bias is not None:
        made.bias.copy_(layer.bias)
    return cast(nn.Module, made)


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
    nn.Sequential: _chain,
    **dict.fromkeys(PRODUCTS, lambda layer: next(_product(layer))),
    RoundInput: _words,
    RoundGradient: lambda _: nn.Identity(),
    KeepRange: lambda _: nn.Identity(),
    Sign: lambda _: parts.Sign(),
    Threshold: lambda layer: parts.Threshold(float(np.float32(layer.threshold))),
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
    layers.Recurrent: lambda layer: parts.Recurrent(layer.cells),
}
