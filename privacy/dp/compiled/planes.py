"""Layers on images that lie channel after channel, as in torch, and those that have no image.

A net with such images is walked with some records abreast (`privacy.dp.kernels.abreast`).
"""

from math import prod

from torch import nn

from privacy.dp.compiled.operation import Lowering, Operation, Shape, geometry
from privacy.dp.kernels import plan
from privacy.dp.kernels.plan import CONV, DENSE, MEAN, PAD, POOL, RELU, TANH


def reshape(*shape: int) -> list[Operation]:
    """The same numbers in another shape."""
    return [Operation(None, shape)]


def each(kind: int) -> Lowering:
    """A function of each element."""
    return lambda _, shape: [Operation(kind, shape)]


def pooling(shape: Shape) -> list[Operation] | None:
    """Max-pooling with 2x2 windows and stride 1 of `shape` [C, H, W]."""
    if len(shape) != 3 or min(shape[1:]) < 2:
        return None
    out = (shape[0], shape[1] - 1, shape[2] - 1)
    numbers = {plan.HEIGHT: shape[1], plan.WIDTH: shape[2]}
    return [Operation(POOL, out, numbers, prod(out))]


def _dense(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.Linear)
    return [Operation(DENSE, (layer.out_features,))] if shape == (layer.in_features,) else None


def _conv(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.Conv2d)
    plain = layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
    if not plain or isinstance(layer.padding, str) or len(shape) != 3:
        return None
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel_size, layer.stride, layer.padding
    padded = (shape[0], shape[1] + 2 * ph, shape[2] + 2 * pw)
    height, width = (padded[1] - kh) // sh + 1, (padded[2] - kw) // sw + 1
    if shape[0] != layer.in_channels or min(height, width) < 1:
        return None
    border = geometry(shape, (kh, kw), (sh, sw), (ph, pw), padded[1:])
    windows = geometry(padded, (kh, kw), (sh, sw), (0, 0), (height, width))
    conv = Operation(CONV, (layer.out_channels, height, width), windows)
    return [conv] if padded == shape else [Operation(PAD, padded, border), conv]


def _mean(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.AvgPool2d)
    kernel, stride, padding = (
        (size, size) if isinstance(size, int) else tuple(size)
        for size in (layer.kernel_size, layer.stride, layer.padding)
    )
    plain = kernel == stride and padding == (0, 0) and not layer.ceil_mode
    if not plain or layer.divisor_override or len(shape) not in (2, 3):
        return None
    channels, height, width = (1, *shape)[-3:]
    out = (height // kernel[0], width // kernel[1])
    if min(out) < 1:
        return None
    numbers = geometry((channels, height, width), kernel, stride, padding, out)
    return [Operation(MEAN, (*shape[:-2], *out), numbers)]


def _flatten(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    """Of a record's axes, which torch counts behind the batch's."""
    assert isinstance(layer, nn.Flatten)
    ends = (layer.start_dim, layer.end_dim)
    first, last = (end - 1 if end >= 0 else end + len(shape) for end in ends)
    if not 0 <= first <= last < len(shape):
        return None
    return reshape(*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


# By exact type: layers that may read images in any layout, and those that read planes.
LOWERINGS: dict[type[nn.Module], Lowering] = {
    nn.Linear: _dense,
    nn.ReLU: each(RELU),
    nn.Tanh: each(TANH),
    nn.Flatten: _flatten,
    nn.Identity: lambda _, shape: reshape(*shape),
}
PLANES: dict[type[nn.Module], Lowering] = {nn.Conv2d: _conv, nn.AvgPool2d: _mean}
