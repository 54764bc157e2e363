"""Convolution of images whose channels lie last: [H, W, C].

A kernel's row then reads one piece of an image's row, at any stride, so patches are copied in long
pieces. Some positions are unfolded at a time: their patches stay in the cache, and their product
stays small enough for the kernels that BLAS keeps for small matrices. Weights have the layout
[groups, K, O], K = (kernel's rows, kernel's columns, channels), and [groups, O, K] for the backward
pass. All functions take one record.
"""

import numpy as np

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import copy
from privacy.dp.kernels.plan import (
    BIAS,
    CHANNELS,
    GROUPS,
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
    rows,
    u64,
)

SMALL = 1_000_000  # multiplications of a product that OpenBLAS takes without repacking


@compiled
def turn(op: Plan, a: Floats, y: Floats) -> None:
    """[C, H * W] -> [H * W, C]"""
    channels = op[CHANNELS]
    _transpose(a, channels, op[IN_SIZE] // channels, y)


@compiled
def turn_back(op: Plan, g: Floats, to: Floats) -> None:
    """[H * W, C] -> [C, H * W]"""
    channels = op[CHANNELS]
    _transpose(g, op[IN_SIZE] // channels, channels, to)


@compiled
def conv(op: Plan, a: Floats, w: Floats, scratch: Floats, y: Floats) -> None:
    """Outputs y [P * O] of the image a [H * W * C]."""
    O, P, K = _group_shape(op)  # noqa: E741
    groups, image, rest = op[GROUPS], _padded_size(op), scratch
    for group in range(groups):
        weight = rows(w, op[WEIGHT] + group * K * O, K, O)
        y_g = y
        if groups > 1:
            y_g, rest = scratch[: P * O], scratch[P * O :]
        x, patches = pad(op, a, group, rest[:image]), rest[image:]
        if _is_point(op):
            x, patches = a, a
        step = positions_at_once(K * O)
        for start in range(0, P, step):
            num = min(step, P - start)
            if _is_point(op):
                x_pK = rows(x, start * K, num, K)
            else:
                x_pK = rows(patches, 0, num, K)
                _unfold(x, op, start, start + num, 0, op[KERNEL_H], 0, op[KERNEL_W], patches)
            np.dot(x_pK, weight, rows(y_g, start * O, num, O))
        if groups > 1:
            _join(y_g, O, group, groups, y)
    if op[BIAS] >= 0:
        bias = w[op[BIAS] :][: O * groups]
        for p in range(P):
            row = y[p * len(bias) :][: len(bias)]
            for o in range(len(bias)):
                row[o] += bias[o]


@compiled
def conv_back(op: Plan, g: Floats, turned: Floats, scratch: Floats, to: Floats) -> None:
    """The gradient of the image, from that of the outputs."""
    O, P, K = _group_shape(op)  # noqa: E741
    groups, image, rest = op[GROUPS], _padded_size(op), scratch
    for group in range(groups):
        weight = rows(turned, op[WEIGHT] + group * K * O, O, K)
        g_g = g
        if groups > 1:
            g_g, rest = scratch[: P * O], scratch[P * O :]
            _split(g, O, group, groups, g_g)
        x, patches = rest[:image], rest[image:]
        step = positions_at_once(K * O)
        if not _is_point(op):
            x[:] = 0
        for start in range(0, P, step):
            num = min(step, P - start)
            g_pO = rows(g_g, start * O, num, O)
            if _is_point(op):
                np.dot(g_pO, weight, rows(to, start * K, num, K))
            else:
                np.dot(g_pO, weight, rows(patches, 0, num, K))
                _fold(patches, op, start, start + num, x)
        if not _is_point(op):
            crop(op, x, group, to)


@compiled
def conv_gradient(op: Plan, a: Floats, g: Floats, scratch: Floats, own: Floats) -> None:
    """The weights' gradient `own` [groups, K, O], and behind it the bias's [groups * O]."""
    O, P, K = _group_shape(op)  # noqa: E741
    groups, image, rest = op[GROUPS], _padded_size(op), scratch
    channels = op[CHANNELS] // groups
    for group in range(groups):
        g_g = g
        if groups > 1:
            g_g, rest = scratch[: P * O], scratch[P * O :]
            _split(g, O, group, groups, g_g)
        g_PO = rows(g_g, 0, P, O)
        if _is_point(op):
            np.dot(rows(a, 0, P, K).T, g_PO, rows(own, 0, K, O))
        else:
            x, patches = pad(op, a, group, rest[:image]), rest[image:]
            down, along = elements_at_once(op[KERNEL_H], op[KERNEL_W], channels * O * P)
            for i in range(0, op[KERNEL_H], down):
                for j in range(0, op[KERNEL_W], along):
                    bottom, right = min(i + down, op[KERNEL_H]), min(j + along, op[KERNEL_W])
                    _unfold(x, op, 0, P, i, bottom, j, right, patches)
                    num = (bottom - i) * (right - j) * channels
                    first = group * K + (i * op[KERNEL_W] + j) * channels
                    np.dot(rows(patches, 0, P, num).T, g_PO, rows(own, first * O, num, O))
    if op[BIAS] >= 0:
        sum_rows(g, own[groups * K * O :])


@compiled
def positions_at_once(size: int) -> int:
    """Of a product with a weight of this size; BLAS takes 16 rows at a time."""
    num = max(SMALL // size, 1)
    return num - num % 16 if num > 16 else num


@compiled
def elements_at_once(height: int, width: int, size: int) -> tuple[int, int]:
    """Rows and columns of a kernel whose gradient is one product, if an element's has this size."""
    num = max(SMALL // size, 1)
    return (min(num // width, height), width) if num >= width else (1, num)


@compiled
def sum_rows(x: Floats, out: Floats) -> None:
    """[P * C] -> sums over positions [C]"""
    channels = len(out)
    sums = np.zeros(channels)
    for p in range(len(x) // channels):
        row = x[p * channels :]
        for c in range(channels):
            sums[c] += np.float64(row[c])
    copy(sums, out)


@compiled
def pad(op: Plan, a: Floats, group: int, out: Floats) -> Floats:
    """The channels of a group, with a border of zeros; `a` itself if that is the same."""
    channels, line = op[CHANNELS] // op[GROUPS], op[WIDTH] + 2 * op[PAD_W]
    if op[GROUPS] == 1 and op[PAD_H] == 0 and op[PAD_W] == 0:
        return a
    out[:] = 0
    for y in range(op[HEIGHT]):
        inside = out[((y + op[PAD_H]) * line + op[PAD_W]) * channels :]
        row = a[y * op[WIDTH] * op[CHANNELS] + group * channels :]
        if op[GROUPS] == 1:
            for i in range(op[WIDTH] * channels):
                inside[i] = row[i]
        else:
            for q in range(op[WIDTH]):
                for c in range(channels):
                    inside[q * channels + c] = row[q * op[CHANNELS] + c]
    return out


@compiled
def crop(op: Plan, image: Floats, group: int, to: Floats) -> None:
    """The transpose of `pad`."""
    channels, line = op[CHANNELS] // op[GROUPS], op[WIDTH] + 2 * op[PAD_W]
    for y in range(op[HEIGHT]):
        inside = image[((y + op[PAD_H]) * line + op[PAD_W]) * channels :]
        row = to[y * op[WIDTH] * op[CHANNELS] + group * channels :]
        if op[GROUPS] == 1:
            for i in range(op[WIDTH] * channels):
                row[i] = inside[i]
        else:
            for q in range(op[WIDTH]):
                for c in range(channels):
                    row[q * op[CHANNELS] + c] = inside[q * channels + c]


@compiled
def _unfold(
    x: Floats, op: Plan, start: int, end: int, top: int, bottom: int, left: int, right: int,
    out: Floats,
) -> None:  # fmt: skip
    """The patches of positions start to end, of the kernel's rows and columns in these ranges."""
    channels, out_w = op[CHANNELS] // op[GROUPS], op[OUT_W]
    line, run = (op[WIDTH] + 2 * op[PAD_W]) * channels, u64((right - left) * channels)
    down, along, to = op[STRIDE_H] * line, op[STRIDE_W] * channels, u64(0)
    for p in range(start, end):
        corner = p // out_w * down + p % out_w * along + left * channels
        for i in range(top, bottom):
            at = u64(corner + i * line)
            for j in range(run):
                out[to + j] = x[at + j]
            to += run


@compiled
def _fold(patches: Floats, op: Plan, start: int, end: int, x: Floats) -> None:
    """The transpose of `_unfold`, added to x."""
    channels, out_w = op[CHANNELS] // op[GROUPS], op[OUT_W]
    line, run = (op[WIDTH] + 2 * op[PAD_W]) * channels, u64(op[KERNEL_W] * channels)
    down, along, at = op[STRIDE_H] * line, op[STRIDE_W] * channels, u64(0)
    for p in range(start, end):
        corner = p // out_w * down + p % out_w * along
        for i in range(op[KERNEL_H]):
            to = u64(corner + i * line)
            for j in range(run):
                x[to + j] += patches[at + j]
            at += run


@compiled
def _transpose(a: Floats, num: int, columns: int, out: Floats) -> None:
    for i in range(num):
        for j in range(columns):
            out[j * num + i] = a[i * columns + j]


@compiled
def _split(x: Floats, channels: int, group: int, groups: int, out: Floats) -> None:
    """One group's channels of all positions."""
    for p in range(len(out) // channels):
        for c in range(channels):
            out[p * channels + c] = x[(p * groups + group) * channels + c]


@compiled
def _join(x: Floats, channels: int, group: int, groups: int, out: Floats) -> None:
    """The transpose of `_split`."""
    for p in range(len(x) // channels):
        for c in range(channels):
            out[(p * groups + group) * channels + c] = x[p * channels + c]


@compiled
def _group_shape(op: Plan) -> tuple[int, int, int]:
    P = op[OUT_H] * op[OUT_W]
    channels = op[CHANNELS] // op[GROUPS]
    return op[OUT_SIZE] // P // op[GROUPS], P, channels * op[KERNEL_H] * op[KERNEL_W]


@compiled
def _padded_size(op: Plan) -> int:
    """Numbers of a group's image with its border."""
    height, width = op[HEIGHT] + 2 * op[PAD_H], op[WIDTH] + 2 * op[PAD_W]
    return height * width * (op[CHANNELS] // op[GROUPS])


@compiled
def _is_point(op: Plan) -> bool:
    """Whether the image is its own patches."""
    same = op[HEIGHT] == op[OUT_H] and op[WIDTH] == op[OUT_W] and op[GROUPS] == 1
    return same and op[KERNEL_H] == 1 and op[KERNEL_W] == 1 and op[PAD_H] + op[PAD_W] == 0
