"""Means and maxima of windows of images whose channels lie last: [H, W, C].

Windows have no border. All functions take one record.
"""

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.plan import (
    CHANNELS,
    KERNEL_H,
    KERNEL_W,
    OUT_W,
    STRIDE_H,
    STRIDE_W,
    WIDTH,
    Floats,
    Plan,
    f32,
    u64,
)


@compiled
def mean(op: Plan, a: Floats, y: Floats) -> None:
    """[H * W * C] -> [P * C]"""
    channels, num = op[CHANNELS], op[KERNEL_H] * op[KERNEL_W]
    share = f32(1) / f32(num)
    y[:] = 0
    for p in range(len(y) // channels):
        to = u64(p * channels)
        for k in range(num):
            at = u64(_place(op, p, k))
            for c in range(u64(channels)):
                y[to + c] += a[at + c]
    for i in range(len(y)):
        y[i] *= share


@compiled
def mean_back(op: Plan, g: Floats, to: Floats) -> None:
    """The transpose of `mean`; what no window holds gets zero."""
    channels, num = op[CHANNELS], op[KERNEL_H] * op[KERNEL_W]
    share = f32(1) / f32(num)
    to[:] = 0
    for p in range(len(g) // channels):
        own = u64(p * channels)
        for k in range(num):
            at = u64(_place(op, p, k))
            for c in range(u64(channels)):
                to[at + c] += g[own + c] * share


@compiled
def maximum(op: Plan, a: Floats, y: Floats, places: Floats) -> None:
    """[H * W * C] -> [P * C]; `places` gets which element of the window is the first maximum."""
    channels = op[CHANNELS]
    for p in range(len(y) // channels):
        to, first = u64(p * channels), u64(_place(op, p, 0))
        for c in range(u64(channels)):
            y[to + c], places[to + c] = a[first + c], f32(0)
        for k in range(1, op[KERNEL_H] * op[KERNEL_W]):
            at = u64(_place(op, p, k))
            for c in range(u64(channels)):
                v, most = a[at + c], y[to + c]
                greater = v > most or v != v  # a NaN is kept
                y[to + c] = v if greater else most
                places[to + c] = f32(k) if greater else places[to + c]


@compiled
def maximum_back(op: Plan, g: Floats, places: Floats, to: Floats) -> None:
    """The transpose of `maximum`: each g goes to its window's maximum."""
    channels = op[CHANNELS]
    to[:] = 0
    for p in range(len(g) // channels):
        own = u64(p * channels)
        for k in range(op[KERNEL_H] * op[KERNEL_W]):
            at = u64(_place(op, p, k))
            for c in range(u64(channels)):
                to[at + c] += g[own + c] if places[own + c] == f32(k) else f32(0)


@compiled
def _place(op: Plan, p: int, k: int) -> int:
    """Where element k of the window of position p stands in the image."""
    y = p // op[OUT_W] * op[STRIDE_H] + k // op[KERNEL_W]
    x = p % op[OUT_W] * op[STRIDE_W] + k % op[KERNEL_W]
    return (y * op[WIDTH] + x) * op[CHANNELS]
