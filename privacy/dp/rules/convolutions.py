"""Convolutions in one to three dimensions, with groups, any stride, padding and dilation.

Shapes: B samples, G groups, C and O channels of a group (in, out), P output positions, K = kernel
elements x C.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from privacy.dp.rules.share import Share, with_bias
from privacy.errors import ModelError


def convolution(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """Conv1d, Conv2d, Conv3d: each output position saw one patch of x [B, G*C, ...]."""
    assert isinstance(layer, _ConvNd)
    _require_batch(layer, g)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    weight = torch.bmm(_by_group(g, layer.groups), _patches(x, layer, g.shape[2:]))
    return with_bias(layer, weight.reshape(len(g), *layer.weight.shape), g.flatten(2).sum(2))


def transposed(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """ConvTranspose1d to 3d: the same with x and g changing places."""
    assert isinstance(layer, _ConvTransposeNd)
    _require_batch(layer, g)
    sides = [side for pad in layer.padding[::-1] for side in (int(pad),) * 2]
    weight = torch.bmm(_by_group(x, layer.groups), _patches(F.pad(g, sides), layer, x.shape[2:]))
    return with_bias(layer, weight.reshape(len(g), *layer.weight.shape), g.flatten(2).sum(2))


def _require_batch(layer: _ConvNd, g: Tensor) -> None:
    if g.dim() != len(layer.kernel_size) + 2:
        raise ModelError(
            f"{type(layer).__name__}: its output has {g.dim()} axes, not records, channels and "
            f"{len(layer.kernel_size)} of space; keep the batch first and whole"
        )


def _by_group(t: Tensor, groups: int) -> Tensor:
    """[B, G*C, ...] as [B*G, C, P]."""
    return t.reshape(len(t) * groups, t.shape[1] // groups, t[0, 0].numel())


def _patches(x: Tensor, layer: _ConvNd, positions: torch.Size) -> Tensor:
    """What each of the positions saw of x, [B*G, P, K]: a view of all patches, then one copy."""
    kernel, space = layer.kernel_size, len(positions)
    b, c, *steps = x.stride()
    per_group = x.shape[1] // layer.groups
    within = [d * s for d, s in zip(layer.dilation, steps, strict=True)]
    between = [d * s for d, s in zip(layer.stride, steps, strict=True)]
    patches = x.as_strided(
        (len(x), layer.groups, *positions, per_group, *kernel),
        (b, c * per_group, *between, c, *within),
    )
    return patches.flatten(2 + space).flatten(2, 1 + space).flatten(0, 1)
