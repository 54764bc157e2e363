"""Convolution with a kernel for each channel, of images whose channels lie last: [H, W, C].

All channels of a position are one vector; the usual three columns of a kernel are taken at once.
Weights have the layout [kernel elements, C]. All functions take one record.
"""

from typing import Any

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import copy
from privacy.dp.kernels.last import crop, pad, sum_rows
from privacy.dp.kernels.plan import (
    BIAS,
    CHANNELS,
    HEIGHT,
    KERNEL_H,
    KERNEL_W,
    OUT_W,
    PAD_H,
    PAD_W,
    STRIDE_H,
    STRIDE_W,
    WEIGHT,
    WIDTH,
    Floats,
    Plan,
    u64,
)


@compiled
def conv(op: Plan, a: Floats, w: Floats, scratch: Floats, y: Floats) -> None:
    """Outputs y [P * C] of the image a [H * W * C]."""
    channels, num = op[CHANNELS], op[KERNEL_W]
    x, weight = pad(op, a, 0, scratch[: _padded_size(op)]), w[op[WEIGHT] :]
    for p in range(len(y) // channels):
        row = y[p * channels :][:channels]
        row[:] = 0
        if op[BIAS] >= 0:
            copy(w[op[BIAS] :][:channels], row)
        for i in range(op[KERNEL_H]):
            _meet(x, u64(_corner(op, p, i)), weight, u64(i * num * channels), num, row)


@compiled
def conv_back(op: Plan, g: Floats, w: Floats, scratch: Floats, to: Floats) -> None:
    """The gradient of the image, from that of the outputs."""
    channels, num = op[CHANNELS], op[KERNEL_W]
    x, weight = scratch[: _padded_size(op)], w[op[WEIGHT] :]
    x[:] = 0
    for p in range(len(g) // channels):
        row = g[p * channels :][:channels]
        for i in range(op[KERNEL_H]):
            _strew(row, weight, u64(i * num * channels), num, x, u64(_corner(op, p, i)))
    crop(op, x, 0, to)


@compiled
def conv_gradient(op: Plan, a: Floats, g: Floats, scratch: Floats, own: Floats) -> None:
    """The weights' gradient `own` [kernel elements, C], and behind it the bias's [C]."""
    channels, num = op[CHANNELS], op[KERNEL_W]
    x, num_weights = pad(op, a, 0, scratch[: _padded_size(op)]), op[KERNEL_H] * num * channels
    own[:num_weights] = 0
    for p in range(len(g) // channels):
        row = g[p * channels :][:channels]
        for i in range(op[KERNEL_H]):
            _strew(row, x, u64(_corner(op, p, i)), num, own, u64(i * num * channels))
    if op[BIAS] >= 0:
        sum_rows(g, own[num_weights:])


@compiled
def _meet(x: Floats, at: Any, weight: Floats, own: Any, num: int, row: Floats) -> None:
    """Add to `row` the products of a kernel's row and an image's, element by element."""
    channels = u64(len(row))
    two = channels + channels
    if num == 3:
        for c in range(channels):
            part = weight[own + c] * x[at + c] + weight[own + channels + c] * x[at + channels + c]
            row[c] += part + weight[own + two + c] * x[at + two + c]
    else:
        for _ in range(num):
            for c in range(channels):
                row[c] += weight[own + c] * x[at + c]
            at += channels
            own += channels


@compiled
def _strew(row: Floats, by: Floats, at: Any, num: int, out: Floats, to: Any) -> None:
    """Add the products of `row` and each of `num` rows of `by` to those of `out`."""
    channels = u64(len(row))
    two = channels + channels
    if num == 3:
        for c in range(channels):
            first, second = by[at + c], by[at + channels + c]
            out[to + c] += row[c] * first
            out[to + channels + c] += row[c] * second
            out[to + two + c] += row[c] * by[at + two + c]
    else:
        for _ in range(num):
            for c in range(channels):
                out[to + c] += row[c] * by[at + c]
            at += channels
            to += channels


@compiled
def _corner(op: Plan, p: int, i: int) -> int:
    """Where row i of the kernel at position p begins in the image with its border."""
    y, x = p // op[OUT_W] * op[STRIDE_H] + i, p % op[OUT_W] * op[STRIDE_W]
    return (y * (op[WIDTH] + 2 * op[PAD_W]) + x) * op[CHANNELS]


@compiled
def _padded_size(op: Plan) -> int:
    return (op[HEIGHT] + 2 * op[PAD_H]) * (op[WIDTH] + 2 * op[PAD_W]) * op[CHANNELS]
