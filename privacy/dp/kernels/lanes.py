"""Convolution and pooling of images that lie channel after channel, of `LANES` records abreast.

Number i of all records is one vector: images are [C, H, W, LANES]. So nothing is unfolded, no sum
crosses a vector, and no record's number enters another's. A convolution reads its patches where
they stand in the image, which has its border.
"""

import numpy as np

from privacy.dp.kernels import tiles
from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import copy
from privacy.dp.kernels.plan import (
    BIAS,
    CHANNELS,
    HEIGHT,
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
    Places,
    Plan,
    Sums,
    f32,
    u64,
)
from privacy.dp.kernels.tiles import ACROSS, DOWN, LANES, add_vector, meet, weigh


@compiled
def conv(op: Plan, a: Floats, w: Floats, y: Floats) -> None:
    """Outputs y [O * P] of the image a [C * H * W]."""
    at, along = _positions(op), _elements(op)
    P, K = len(at), len(along)
    O, weight = op[OUT_SIZE] // P, w[op[WEIGHT] :]  # noqa: E741
    down, across, tile = _room()
    for i in range(0, P, ACROSS):
        p = _begin(i, P, ACROSS)
        _choose(at, p, across)
        for j in range(0, O, DOWN):
            o = _begin(j, O, DOWN)
            _count(o, O, K, down)
            if o + DOWN <= O and p + ACROSS <= P:
                weigh(weight, down, a, across, along, 1, K, y, (o * P + p) * LANES, P * LANES)
            else:
                weigh(weight, down, a, across, along, 1, K, tile, 0, ACROSS * LANES)
                _copy_tile(tile, ACROSS, min(DOWN, O), min(ACROSS, P), y[(o * P + p) * LANES :], P)
    if op[BIAS] >= 0:
        for o in range(O):
            bias = w[op[BIAS] + o]
            row = y[o * P * LANES :][: P * LANES]
            for i in range(len(row)):
                row[i] += bias


@compiled
def conv_back(op: Plan, g: Floats, w: Floats, to: Floats) -> None:
    """The gradient of the image, from that of the outputs."""
    at, along = _positions(op), _elements(op)
    P, K = len(at), len(along)
    O, weight = op[OUT_SIZE] // P, w[op[WEIGHT] :]  # noqa: E741
    down, across, tile = _room()
    outputs = np.arange(0, O * P * LANES, P * LANES)
    to[:] = 0
    for p in range(0, P, ACROSS):
        _count(p, P, LANES, across)
        for k in range(0, K, DOWN):
            _count(k, K, 1, down)
            weigh(weight, down, g, across, outputs, K, O, tile, 0, ACROSS * LANES)
            for d in range(min(DOWN, K - k)):
                for c in range(min(ACROSS, P - p)):
                    add_vector(to, at[p + c] + along[k + d], tile, (d * ACROSS + c) * LANES)


@compiled
def conv_gradient(
    op: Plan, a: Floats, g: Floats, own: Floats, trained: Sums, squares: Sums
) -> None:
    """The weights' gradients `own` [O * K], and behind them the bias's [O], of each record.

    Each record's sum of their squares is added to `squares`, while they are near. Of weights that
    are not trained, where some are, they are zero.
    """
    at, along = _positions(op), _elements(op)
    P, K = len(at), len(along)
    O = op[OUT_SIZE] // P  # noqa: E741
    down, across, tile = _room()
    for i in range(0, O, ACROSS):
        o = _begin(i, O, ACROSS)
        _count(o, O, P * LANES, across)
        for j in range(0, K, DOWN):
            k = _begin(j, K, DOWN)
            _choose(along, k, down)
            if o + ACROSS <= O and k + DOWN <= K:
                meet(a, down, g, across, at, LANES, P, own, (o * K + k) * LANES, K * LANES)
            else:
                meet(a, down, g, across, at, LANES, P, tile, 0, DOWN * LANES)
                _copy_tile(tile, DOWN, min(ACROSS, O), min(DOWN, K), own[(o * K + k) * LANES :], K)
        done = min(i + ACROSS, O) * K
        _keep(own[i * K * LANES : done * LANES], trained[op[WEIGHT] + i * K :], squares)
    if op[BIAS] >= 0:
        for o in range(O):
            sums = np.zeros(LANES)
            for p in range(P):
                row = g[(o * P + p) * LANES :]
                for i in range(LANES):
                    sums[i] += np.float64(row[i])
            copy(sums, own[(O * K + o) * LANES :])
        _keep(own[O * K * LANES :][: O * LANES], trained[op[BIAS] :], squares)


@compiled
def _keep(own: Floats, trained: Sums, squares: Sums) -> None:
    """Zero what is not trained, and add up the squares of the rest."""
    if len(trained):
        for i in range(len(own) // LANES):
            if not trained[i]:
                own[i * LANES : (i + 1) * LANES] = 0
    add_squares(own, squares)


@compiled
def add_squares(x: Floats, out: Sums) -> None:
    """Add each record's to `out`."""
    four = 4 * LANES
    num = len(x) // four
    tiles.add_squares(x, num, out)
    for i in range(num * four, len(x)):
        out[i % LANES] += np.float64(x[i]) * np.float64(x[i])


@compiled
def mix(made: Floats, factors: Floats, out: Floats) -> None:
    """The sum over the records of each number times the record's factor."""
    num = len(out) - len(out) % LANES
    for i in range(0, num, LANES):
        tiles.mix(made, i * LANES, factors, out, i)
    for i in range(num, len(out)):
        out[i] = 0
        for s in range(LANES):
            out[i] += made[i * LANES + s] * factors[s]


@compiled
def _begin(start: int, size: int, tile: int) -> int:
    """Where a tile begins: the last one before the end, whose sums it takes again."""
    return max(min(start, size - tile), 0)


@compiled
def _copy_tile(tile: Floats, width: int, lines: int, num: int, out: Floats, line: int) -> None:
    """`num` sums of each of some lines of a tile, to lines of so many numbers."""
    for n in range(lines):
        for i in range(num * LANES):
            out[n * line * LANES + i] = tile[n * width * LANES + i]


@compiled
def pad(op: Plan, a: Floats, y: Floats) -> None:
    """The image with a border of zeros."""
    y[:] = 0
    num = op[WIDTH] * LANES
    for line in range(op[CHANNELS] * op[HEIGHT]):
        copy(a[line * num :][:num], y[_border(op, line) :][:num])


@compiled
def pad_back(op: Plan, g: Floats, to: Floats) -> None:
    """The gradient inside of the border."""
    num = op[WIDTH] * LANES
    for line in range(op[CHANNELS] * op[HEIGHT]):
        copy(g[_border(op, line) :][:num], to[line * num :][:num])


@compiled
def pool(op: Plan, x: Floats, y: Floats, places: Floats) -> None:
    """Maxima of all 2x2 windows, stride 1; `places` gets which of a window's is the first, 0 to 3.

    Lines [W] of the image become lines [W - 1], each but the last of a channel.
    """
    height, line = op[HEIGHT], u64(op[WIDTH] * LANES)
    one, to = u64(LANES), u64(0)
    for row in range(len(x) // (op[WIDTH] * LANES)):
        if (row + 1) % height:
            at = u64(row) * line
            for i in range(line - one):
                most, where = x[at + i], f32(0)
                v = x[at + i + one]
                greater = v > most or v != v  # a NaN is kept
                most, where = (v, f32(1)) if greater else (most, where)
                v = x[at + i + line]
                greater = v > most or v != v
                most, where = (v, f32(2)) if greater else (most, where)
                v = x[at + i + line + one]
                greater = v > most or v != v
                y[to + i] = v if greater else most
                places[to + i] = f32(3) if greater else where
            to += line - one


@compiled
def unpool(op: Plan, g: Floats, places: Floats, to: Floats) -> None:
    """The transpose of `pool`: give each g to its window's maximum."""
    height, line = op[HEIGHT], u64(op[WIDTH] * LANES)
    one, at = u64(LANES), u64(0)
    to[:] = 0
    for row in range(len(to) // (op[WIDTH] * LANES)):
        if (row + 1) % height:
            for k in range(4):
                start = u64(row + k // 2) * line + u64(k % 2) * one
                for i in range(line - one):
                    to[start + i] += g[at + i] if places[at + i] == f32(k) else f32(0)
            at += line - one


@compiled
def average(op: Plan, x: Floats, y: Floats) -> None:
    """Means of windows that do not overlap: [C * H * W] -> [C * OUT_H * OUT_W]."""
    y[:] = 0
    for at in range(len(y) // LANES):
        sums = y[at * LANES :]
        for i in range(op[KERNEL_H]):
            line = x[_window(op, at, i) :]
            for j in range(op[KERNEL_W]):
                for lane in range(LANES):
                    sums[lane] += line[j * LANES + lane]
    y /= f32(op[KERNEL_H] * op[KERNEL_W])


@compiled
def spread(op: Plan, g: Floats, to: Floats) -> None:
    """The transpose of `average`; what no window holds gets zero."""
    share = f32(op[KERNEL_H] * op[KERNEL_W])
    to[:] = 0
    for at in range(len(g) // LANES):
        for i in range(op[KERNEL_H]):
            line = to[_window(op, at, i) :]
            for j in range(op[KERNEL_W]):
                for lane in range(LANES):
                    line[j * LANES + lane] = g[at * LANES + lane] / share


@compiled
def _window(op: Plan, at: int, i: int) -> int:
    """Where line i of the window of output `at` begins."""
    channel, place = at // (op[OUT_H] * op[OUT_W]), at % (op[OUT_H] * op[OUT_W])
    y, x = place // op[OUT_W] * op[KERNEL_H] + i, place % op[OUT_W] * op[KERNEL_W]
    return ((channel * op[HEIGHT] + y) * op[WIDTH] + x) * LANES


@compiled
def _border(op: Plan, line: int) -> int:
    """Where line `line` of all channels begins in the image with a border."""
    channel, y = line // op[HEIGHT], line % op[HEIGHT]
    return ((channel * op[OUT_H] + y + op[PAD_H]) * op[OUT_W] + op[PAD_W]) * LANES


@compiled
def _positions(op: Plan) -> Places:
    """Where the windows begin, [P]."""
    out = np.empty(op[OUT_H] * op[OUT_W], np.int64)
    for p in range(len(out)):
        y, x = p // op[OUT_W] * op[STRIDE_H], p % op[OUT_W] * op[STRIDE_W]
        out[p] = (y * op[WIDTH] + x) * LANES
    return out


@compiled
def _elements(op: Plan) -> Places:
    """Where the elements of a window stand from its beginning, [K]."""
    out, size = np.empty(op[CHANNELS] * op[KERNEL_H] * op[KERNEL_W], np.int64), op[KERNEL_W]
    for k in range(len(out)):
        line, x = k // size, k % size
        channel, y = line // op[KERNEL_H], line % op[KERNEL_H]
        out[k] = ((channel * op[HEIGHT] + y) * op[WIDTH] + x) * LANES
    return out


@compiled
def _room() -> tuple[Places, Places, Floats]:
    """For a tile, and where what it multiplies begins."""
    down, across = np.empty(DOWN, np.int64), np.empty(ACROSS, np.int64)
    return down, across, np.empty(DOWN * ACROSS * LANES, np.float32)


@compiled
def _choose(places: Places, start: int, out: Places) -> None:
    """Those from `start` on; behind the last the last again, whose sums nobody reads."""
    for i in range(len(out)):
        out[i] = places[min(start + i, len(places) - 1)]


@compiled
def _count(start: int, end: int, size: int, out: Places) -> None:
    """The same of places that are `size` apart."""
    for i in range(len(out)):
        out[i] = min(start + i, end - 1) * size
