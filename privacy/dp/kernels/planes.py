"""Convolution and pooling of images that lie channel after channel, as in torch: [C, H, W].

A convolution's patches [P, K] are kept for the backward pass.
"""

from typing import Any

import numpy as np

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import copy
from privacy.dp.kernels.plan import (
    AUX,
    BIAS,
    CHANNELS,
    HEIGHT,
    IN_SIZE,
    KERNEL_H,
    KERNEL_W,
    OUT_H,
    OUT_SIZE,
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
    rows,
    u64,
)


@compiled
def conv(
    op: Plan, a: Floats, w: Floats, block: int, patches: Floats, scratch: Floats, y: Floats
) -> None:
    """Outputs y [b, O * P] of the images a [b, C * H * W], which have their border."""
    O, P, K = _conv_shape(op)  # noqa: E741
    y_PO, weight_KO = rows(scratch, 0, P, O), rows(scratch, P * O, K, O)
    weight = rows(w, op[WEIGHT], O, K)
    for o in range(O):
        copy(weight[o], weight_KO[:, o])
    for s in range(len(a)):
        x_PK = rows(patches, op[AUX] * block + s * P * K, P, K)
        _unfold(a[s], op, x_PK)
        np.dot(x_PK, weight_KO, y_PO)
        for o in range(O):
            bias = w[op[BIAS] + o] if op[BIAS] >= 0 else f32(0)
            channel = y[s, o * P :]
            for p in range(P):
                channel[p] = y_PO[p, o] + bias


@compiled
def conv_back(op: Plan, g: Floats, w: Floats, scratch: Floats, to: Floats) -> None:
    """The gradient of the images, from that of the outputs."""
    O, P, K = _conv_shape(op)  # noqa: E741
    weight, x_PK = rows(w, op[WEIGHT], O, K), rows(scratch, 0, P, K)
    for s in range(len(g)):
        np.dot(g[s].reshape(O, P).T, weight, x_PK)
        _fold(x_PK, op, to[s])


@compiled
def conv_gradient(op: Plan, s: int, block: int, g: Floats, patches: Floats, own: Floats) -> None:
    """The weights' gradient `own` of record s, from that of its outputs, g [O * P]."""
    O, P, K = _conv_shape(op)  # noqa: E741
    g_OP = g.reshape(O, P)
    x_PK = rows(patches, op[AUX] * block + s * P * K, P, K)
    np.dot(g_OP, x_PK, rows(own, 0, O, K))
    if op[BIAS] >= 0:
        np.dot(g_OP, np.ones(P, np.float32), own[O * K :][:O])


@compiled
def pad(op: Plan, a: Floats, y: Floats) -> None:
    """Images with a border of zeros."""
    y[:] = 0
    for s in range(len(a)):
        for line in range(op[CHANNELS] * op[HEIGHT]):
            inside = y[s, _border(op, line) :][: op[WIDTH]]
            copy(a[s, line * op[WIDTH] :][: op[WIDTH]], inside)


@compiled
def pad_back(op: Plan, g: Floats, to: Floats) -> None:
    """The gradient inside of the border."""
    for s in range(len(g)):
        for line in range(op[CHANNELS] * op[HEIGHT]):
            inside = g[s, _border(op, line) :][: op[WIDTH]]
            copy(inside, to[s, line * op[WIDTH] :][: op[WIDTH]])


@compiled
def pool(x: Floats, height: int, width: int, out: Floats, places: Floats) -> None:
    """Maxima of all 2x2 windows, stride 1, of N images: [N, H, W] -> [N, H - 1, W - 1], flat.

    `places` [W + 1 + N * H * W] gets the place of each window's first maximum, 0 to 3, after W + 1
    numbers that `unpool` wants there. All images are one flat row: windows that would wrap round an
    edge are computed too, and left out of `out`.
    """
    best = np.empty(len(x), np.float32)
    right, below, across = x[1:], x[width:], x[width + 1 :]
    place = places[width + 1 :]
    for p in range(len(x) - width - 1):
        most, at = x[p], f32(0)
        greater = right[p] > most or right[p] != right[p]  # a NaN is kept
        most, at = (right[p], f32(1)) if greater else (most, at)
        greater = below[p] > most or below[p] != below[p]
        most, at = (below[p], f32(2)) if greater else (most, at)
        greater = across[p] > most or across[p] != across[p]
        best[p] = across[p] if greater else most
        place[p] = f32(3) if greater else at
    to = u64(0)
    for row in range(len(x) // width):
        if (row + 1) % height:
            start = u64(row * width)
            for j in range(width - 1):
                out[to + u64(j)] = best[start + u64(j)]
            to += u64(width - 1)


@compiled
def unpool(g: Floats, height: int, width: int, places: Floats, out: Floats) -> None:
    """The transpose of `pool`: give each g to its window's maximum, [N * H * W]."""
    ahead = width + 1
    padded = np.zeros(len(out) + ahead, np.float32)  # zero too where windows would wrap
    at = u64(0)
    for row in range(len(out) // width):
        if (row + 1) % height:
            start = u64(row * width + ahead)
            for j in range(width - 1):
                padded[start + u64(j)] = g[at + u64(j)]
            at += u64(width - 1)
    own, left, above = padded[ahead:], padded[width:], padded[1:]
    place, place_left, place_above = places[ahead:], places[width:], places[1:]
    for p in range(len(out)):
        total = own[p] if place[p] == 0 else f32(0)
        total += left[p] if place_left[p] == 1 else f32(0)
        total += above[p] if place_above[p] == 2 else f32(0)
        out[p] = total + (padded[p] if places[p] == 3 else f32(0))


@compiled
def average(x: Floats, op: Plan, out: Floats) -> None:
    """Means of windows that do not overlap: [C * H * W] -> [C * OUT_H * OUT_W]."""
    num_lines, num, out_h, out_w = op[KERNEL_H], op[KERNEL_W], op[OUT_H], op[OUT_W]
    out[:] = 0
    for to in range(op[CHANNELS] * out_h):
        sums = out[to * out_w :][:out_w]
        for i in range(num_lines):
            line = x[(to // out_h * op[HEIGHT] + to % out_h * num_lines + i) * op[WIDTH] :]
            for q in range(out_w):
                for j in range(num):
                    sums[q] += line[q * num + j]
    out /= f32(num_lines * num)


@compiled
def spread(g: Floats, op: Plan, out: Floats) -> None:
    """The transpose of `average`; what no window holds gets zero."""
    num_lines, num, out_h, out_w = op[KERNEL_H], op[KERNEL_W], op[OUT_H], op[OUT_W]
    out[:] = 0
    for at in range(op[CHANNELS] * out_h):
        for i in range(num_lines):
            line = out[(at // out_h * op[HEIGHT] + at % out_h * num_lines + i) * op[WIDTH] :]
            for q in range(out_w):
                for j in range(num):
                    line[q * num + j] = g[at * out_w + q] / f32(num_lines * num)


@compiled
def _unfold(x: Floats, op: Plan, x_PK: Floats) -> None:
    """One image x [C * H * W] -> its patches. A row of the kernel is copied at a time."""
    image, line, channels = u64(op[HEIGHT] * op[WIDTH]), u64(op[WIDTH]), op[CHANNELS]
    out_w, down, along = op[OUT_W], op[STRIDE_H] * op[WIDTH], op[STRIDE_W]
    num_lines, num = op[KERNEL_H], op[KERNEL_W]
    out, to = x_PK.ravel(), u64(0)
    for p in range(op[OUT_H]):
        for q in range(out_w):
            corner = u64(p * down + q * along)
            for _ in range(channels):
                at = corner
                for _ in range(num_lines):
                    if num == 8:  # the usual widths in vectors
                        _copy_4(x, at, out, to)
                        _copy_4(x, at + u64(4), out, to + u64(4))
                    elif num == 4:
                        _copy_4(x, at, out, to)
                    else:
                        for j in range(num):
                            out[to + u64(j)] = x[at + u64(j)]
                    to += u64(num)
                    at += line
                corner += image


@compiled
def _fold(x_PK: Floats, op: Plan, x: Floats) -> None:
    """The transpose of `_unfold`: the sums of the patches in the image x [C * H * W]."""
    image, line, channels = u64(op[HEIGHT] * op[WIDTH]), u64(op[WIDTH]), op[CHANNELS]
    out_w, down, along = op[OUT_W], op[STRIDE_H] * op[WIDTH], op[STRIDE_W]
    num_lines, num = op[KERNEL_H], op[KERNEL_W]
    g, at = x_PK.ravel(), u64(0)
    x[:] = 0
    for p in range(op[OUT_H]):
        for q in range(out_w):
            corner = u64(p * down + q * along)
            for _ in range(channels):
                to = corner
                for _ in range(num_lines):
                    if num == 4:
                        _add_4(x, to, g, at)
                    else:
                        for j in range(num):
                            x[to + u64(j)] += g[at + u64(j)]
                    at += u64(num)
                    to += line
                corner += image


@compiled
def _copy_4(x: Floats, at: Any, out: Floats, to: Any) -> None:
    a, b, c, d = x[at], x[at + u64(1)], x[at + u64(2)], x[at + u64(3)]
    out[to], out[to + u64(1)], out[to + u64(2)], out[to + u64(3)] = a, b, c, d


@compiled
def _add_4(x: Floats, to: Any, g: Floats, at: Any) -> None:
    a, b, c, d = x[to], x[to + u64(1)], x[to + u64(2)], x[to + u64(3)]
    e, f, h, i = g[at], g[at + u64(1)], g[at + u64(2)], g[at + u64(3)]
    x[to], x[to + u64(1)], x[to + u64(2)], x[to + u64(3)] = a + e, b + f, c + h, d + i


@compiled
def _conv_shape(op: Plan) -> tuple[int, int, int]:
    P = op[OUT_H] * op[OUT_W]
    return op[OUT_SIZE] // P, P, op[CHANNELS] * op[KERNEL_H] * op[KERNEL_W]


@compiled
def places_of(places: Floats, block: int, s: int, op: Plan) -> Floats:
    size = op[IN_SIZE] + op[WIDTH] + 1
    return places[op[AUX] * block + s * size :][:size]


@compiled
def _border(op: Plan, line: int) -> int:
    """Where line `line` of all channels begins in the image with a border."""
    channel, y = line // op[HEIGHT], line % op[HEIGHT]
    return (channel * op[OUT_H] + y + op[PAD_H]) * op[OUT_W] + op[PAD_W]
