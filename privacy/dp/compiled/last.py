"""Layers on images whose channels lie last, and on sequences: images of height 1."""

from math import prod
from typing import Any

import numpy as np
from torch import nn

from privacy.dp.compiled.operation import Lowering, Operation, Orders, Shape, geometry
from privacy.dp.kernels import last, plan
from privacy.dp.kernels.plan import DEPTHWISE, LAST_CONV, LAST_MAX, LAST_MEAN, NORM

Conv = nn.Conv1d | nn.Conv2d
Sides = tuple[int, int]


def _sides(size: Any, sequence: bool, single: int = 1) -> Sides:
    """Height and width of a size as torch's layers have it; a sequence's height is `single`."""
    numbers = tuple(size) if isinstance(size, tuple | list) else (size,) * (1 if sequence else 2)
    height, width = (single, *numbers) if sequence else numbers
    return int(height), int(width)


def _image(shape: Shape, sequence: bool) -> Shape:
    """Channels, height, width of a shape [C, L] of sequences, [C, H, W] or [H, W] of images."""
    return (shape[0], 1, shape[1]) if sequence else (1, *shape)[-3:]


def _like(shape: Shape, channels: int, out: Sides, sequence: bool) -> Shape:
    return (channels, out[1]) if sequence else (channels, *out)[-len(shape) :]


def _conv(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, Conv)
    sequence = isinstance(layer, nn.Conv1d)
    plain = all(d == 1 for d in layer.dilation) and layer.padding_mode == "zeros"
    if not plain or isinstance(layer.padding, str) or len(shape) != 3 - sequence:
        return None
    channels, height, width = _image(shape, sequence)
    kernel, stride = _sides(layer.kernel_size, sequence), _sides(layer.stride, sequence)
    padding, groups = _sides(layer.padding, sequence, 0), layer.groups
    padded = (height + 2 * padding[0], width + 2 * padding[1])
    out = ((padded[0] - kernel[0]) // stride[0] + 1, (padded[1] - kernel[1]) // stride[1] + 1)
    if channels != layer.in_channels or min(*out) < 1 or min(height, width) < 1:
        return None
    numbers = geometry((channels, height, width), kernel, stride, padding, out)
    outputs = layer.out_channels
    order = np.arange(layer.weight.numel()).reshape(groups, outputs // groups, -1, prod(kernel))
    image = prod(padded) * channels // groups
    if groups == channels == outputs:
        by_element = np.ascontiguousarray(order.reshape(channels, -1).T).ravel()
        orders, kind, scratch = Orders(by_element, by_element), DEPTHWISE, image * groups
        groups = 1  # one image of all channels
    else:
        orders = Orders(order.transpose(0, 3, 2, 1).ravel(), order.transpose(0, 1, 3, 2).ravel())
        kind, scratch = LAST_CONV, image + _num_unfolded(order.shape, kernel, prod(out))
    numbers[plan.GROUPS] = groups
    return [
        Operation(
            kind, _like(shape, outputs, out, sequence), numbers, 0, scratch, orders,
            (channels, outputs),
        )
    ]  # fmt: skip


def _num_unfolded(weight: Shape, kernel: Sides, num_positions: int) -> int:
    """Numbers of patches at a time, and of a group's outputs."""
    groups, outputs, channels, num_elements = weight
    whole, element = channels * num_elements, channels * outputs * num_positions
    at_once = min(last.positions_at_once(whole * outputs), num_positions) * whole
    patches = prod(last.elements_at_once(*kernel, element)) * channels * num_positions
    own = num_positions * outputs if groups > 1 else 0
    return max(at_once, patches) + own


def _norm(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.GroupNorm)
    if len(shape) > 3 or shape[0] != layer.num_channels:
        return None
    numbers = {plan.CHANNELS: shape[0], plan.GROUPS: layer.num_groups}
    numbers[plan.EPS] = int(np.float64(layer.eps).view(np.int64))
    aux_size = 2 * (shape[0] + layer.num_groups)
    return [Operation(NORM, shape, numbers, aux_size, last=(shape[0], shape[0]))]


def _windows(
    kind: int, shape: Shape, kernel: Sides, stride: Sides, sequence: bool
) -> list[Operation] | None:
    channels, height, width = _image(shape, sequence)
    out = ((height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1)
    if min(*out) < 1:
        return None
    numbers = geometry((channels, height, width), kernel, stride, (0, 0), out)
    aux_size = channels * prod(out) if kind == LAST_MAX else 0
    shape, both = _like(shape, channels, out, sequence), (channels, channels)
    return [Operation(kind, shape, numbers, aux_size, last=both)]


def _mean(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.AvgPool1d | nn.AvgPool2d)
    sequence = isinstance(layer, nn.AvgPool1d)
    plain = not any(_sides(layer.padding, sequence, 0)) and not layer.ceil_mode
    if not plain or getattr(layer, "divisor_override", None) or not _fits(shape, sequence):
        return None
    kernel, stride = _sides(layer.kernel_size, sequence), _sides(layer.stride, sequence)
    return _windows(LAST_MEAN, shape, kernel, stride, sequence)


def _mean_to(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    """A mean of as many windows as asked, if they have one size."""
    assert isinstance(layer, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d)
    sequence = isinstance(layer, nn.AdaptiveAvgPool1d)
    if not _fits(shape, sequence) or None in np.atleast_1d(np.array(layer.output_size, object)):
        return None
    _, height, width = _image(shape, sequence)
    out = _sides(layer.output_size, sequence)
    if min(*out) < 1 or height % out[0] or width % out[1]:
        return None
    kernel = (height // out[0], width // out[1])
    return _windows(LAST_MEAN, shape, kernel, kernel, sequence)


def _maximum(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.MaxPool1d | nn.MaxPool2d)
    sequence = isinstance(layer, nn.MaxPool1d)
    plain = _sides(layer.dilation, sequence) == (1, 1) and not layer.ceil_mode
    padded = any(_sides(layer.padding, sequence, 0))
    if not plain or padded or layer.return_indices:
        return None
    kernel, stride = _sides(layer.kernel_size, sequence), _sides(layer.stride, sequence)
    return maxima(shape, kernel, stride, sequence)


def maxima(
    shape: Shape, kernel: Sides, stride: Sides, sequence: bool = False
) -> list[Operation] | None:
    """Max-pooling, with windows and strides [height, width], without a border."""
    return _windows(LAST_MAX, shape, kernel, stride, sequence) if _fits(shape, sequence) else None


def _fits(shape: Shape, sequence: bool) -> bool:
    """Whether pooling takes it for a sequence, or an image."""
    return len(shape) == 2 or (len(shape) == 3 and not sequence)


# By exact type.
LAST: dict[type[nn.Module], Lowering] = {
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.GroupNorm: _norm,
    nn.AvgPool1d: _mean,
    nn.AvgPool2d: _mean,
    nn.AdaptiveAvgPool1d: _mean_to,
    nn.AdaptiveAvgPool2d: _mean_to,
    nn.MaxPool1d: _maximum,
    nn.MaxPool2d: _maximum,
}
