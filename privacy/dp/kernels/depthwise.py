"""Convolution with a kernel for each channel, of images whose channels lie last: [H, W, C].

All channels of a position are one vector. Weights have the layout [kernel elements, C]. All
functions take one record.
"""

from privacy.dp.kernels.compiling import compiled
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
    f32,
    u64,
)


@compiled  # type: ignore[untyped-decorator]
def conv(op: Plan, a: Floats, w: Floats, scratch: Floats, y: Floats) -> None:
    """Outputs y [P * C] of the image a [H * W * C]."""
    channels, num, size = u64(op[CHANNELS]), op[KERNEL_W], _padded_size(op)
    x, weight = pad(op, a, 0, scratch[:size]), w[op[WEIGHT] :]
    for p in range(len(y) // op[CHANNELS]):
        row = y[p * op[CHANNELS] :][: op[CHANNELS]]
        for c in range(channels):
            row[c] = w[op[BIAS] + c] if op[BIAS] >= 0 else f32(0)
        for k in range(op[KERNEL_H] * num):
            at, own = u64(_corner(op, p, k // num, k % num)), u64(k) * channels
            for c in range(channels):
                row[c] += weight[own + c] * x[at + c]


@compiled  # type: ignore[untyped-decorator]
def conv_back(op: Plan, g: Floats, w: Floats, scratch: Floats, to: Floats) -> None:
    """The gradient of the image, from that of the outputs."""
    channels, num, size = u64(op[CHANNELS]), op[KERNEL_W], _padded_size(op)
    x, weight = scratch[:size], w[op[WEIGHT] :]
    x[:] = 0
    for p in range(len(g) // op[CHANNELS]):
        row = g[p * op[CHANNELS] :][: op[CHANNELS]]
        for k in range(op[KERNEL_H] * num):
            at, own = u64(_corner(op, p, k // num, k % num)), u64(k) * channels
            for c in range(channels):
                x[at + c] += weight[own + c] * row[c]
    crop(op, x, 0, to)


@compiled  # type: ignore[untyped-decorator]
def conv_gradient(op: Plan, a: Floats, g: Floats, scratch: Floats, own: Floats) -> None:
    """The weights' gradient `own` [kernel elements, C], and behind it the bias's [C]."""
    channels, num, size = u64(op[CHANNELS]), op[KERNEL_W], _padded_size(op)
    x, num_weights = pad(op, a, 0, scratch[:size]), op[KERNEL_H] * num * op[CHANNELS]
    own[:num_weights] = 0
    for p in range(len(g) // op[CHANNELS]):
        row = g[p * op[CHANNELS] :][: op[CHANNELS]]
        for k in range(op[KERNEL_H] * num):
            at, to = u64(_corner(op, p, k // num, k % num)), u64(k) * channels
            for c in range(channels):
                own[to + c] += row[c] * x[at + c]
    if op[BIAS] >= 0:
        sum_rows(g, own[num_weights:])


@compiled  # type: ignore[untyped-decorator]
def _corner(op: Plan, p: int, i: int, j: int) -> int:
    """Where position p meets the kernel's element [i, j] in the image with its border."""
    y, x = p // op[OUT_W] * op[STRIDE_H] + i, p % op[OUT_W] * op[STRIDE_W] + j
    return (y * (op[WIDTH] + 2 * op[PAD_W]) + x) * op[CHANNELS]


@compiled  # type: ignore[untyped-decorator]
def _padded_size(op: Plan) -> int:
    return (op[HEIGHT] + 2 * op[PAD_H]) * (op[WIDTH] + 2 * op[PAD_W]) * op[CHANNELS]
