"""[model] adapt: which weights of a model are trained; the others stay as they are.

all      every one
head     the last layer
bias     what is added after each layer, and the head (BiTFiT: Bu et al. 2022)
lora:R   beside each dense layer and convolution a product of two of rank R, and the head (LoRA: Hu
         et al. 2021)

A layer is trained whole or not at all, as its per-sample rule wants it: what `bias` and `lora`
train stands in layers of its own behind and beside the frozen ones, and begins as nothing.
"""

from collections.abc import Callable

from torch import nn

from clients.layers import Offset, Residual
from privacy.errors import ModelError

RECURRENT = (nn.RNNBase, nn.MultiheadAttention)  # which use their parts' weights themselves


def adapt(net: nn.Module, how: str) -> nn.Module:
    """Freeze a model but for what is to be trained of it.

    Args:
        how: `[model] adapt`.

    Returns:
        The model; or, if it is one layer only, that layer with what stands beside it.

    Raises:
        ModelError: it is made of other layers than can be adapted so.
    """
    if how == "all":
        return net
    head = _head(net)
    net.requires_grad_(False)
    kind, _, rank = how.partition(":")
    if kind == "lora":
        net = _replaced(net, head, lambda layer: _low_rank(layer, int(rank)))
    elif kind == "bias":
        net = _replaced(net, head, _offset)
    head.requires_grad_(True)
    return net


def _head(net: nn.Module) -> nn.Module:
    """The last layer with weights of its own, in the order in which they are named."""
    owners = [m for m in net.modules() if next(m.parameters(recurse=False), None) is not None]
    inside = {
        id(part)
        for layer in net.modules()
        if isinstance(layer, RECURRENT)
        for part in layer.modules()
        if part is not layer
    }
    owners = [layer for layer in owners if id(layer) not in inside]
    if not owners:
        raise ModelError("[model] adapt: the model has no weights; use adapt = 'all'")
    return owners[-1]


def _replaced(
    net: nn.Module, head: nn.Module, change: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """The net with each layer but its head changed, and each once, however often it is used."""
    made: dict[int, nn.Module] = {}

    def walk(module: nn.Module) -> nn.Module:
        if module is head:
            return module
        if id(module) not in made:
            for name, child in list(module._modules.items()):
                if child is not None and not isinstance(module, RECURRENT):
                    module._modules[name] = walk(child)
            made[id(module)] = change(module)
        return made[id(module)]

    return walk(net)


def _offset(layer: nn.Module) -> nn.Module:
    """What a layer gives, plus a number for each of its channels."""
    if isinstance(layer, RECURRENT):
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_("bias" in name.rpartition(".")[2])
        return layer
    bias = getattr(layer, "bias", None)
    if bias is None:
        return layer
    if isinstance(layer, nn.Linear | nn.LayerNorm):
        return nn.Sequential(layer, Offset(tuple(bias.shape), 0))
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return nn.Sequential(layer, Offset(tuple(bias.shape), len(layer.kernel_size)))
    return layer


def _low_rank(layer: nn.Module, rank: int) -> nn.Module:
    """A frozen layer beside two of `rank` numbers between them, of which the second is zero."""
    down: nn.Module
    up: nn.Module
    if type(layer) is nn.Linear:
        down = nn.Linear(layer.in_features, rank, bias=False)
        up = nn.Linear(rank, layer.out_features, bias=False)
    elif type(layer) in (nn.Conv1d, nn.Conv2d) and layer.groups == 1:
        kind, inputs, outputs = type(layer), layer.in_channels, layer.out_channels
        how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        down = kind(inputs, rank, layer.kernel_size, bias=False, **how)
        up = kind(rank, outputs, 1, bias=False)
    else:
        return layer
    nn.init.zeros_(up.weight)
    return Residual(nn.Sequential(down, up), nn.Sequential(layer))
