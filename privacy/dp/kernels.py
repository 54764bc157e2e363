"""Compiled layers: forward, backward and clipped sum of small nets, without autograd.

A net is a plan: an int64 table, one row an operation, with the columns named below. One call walks
the plan over a whole batch, in blocks of records that fit in the cache, and without the GIL. Matrix
products are BLAS's; the rest is written as loops that a compiler can turn into vector instructions.
numba compiles on first use and keeps the result. What it keeps is made anew when this file changes,
but not when another does: so all kernels that call one another are here.

Buffers are flat float32. An operation's output for a block of b records stands at
`values[OUT * block :]` as [b, OUT_SIZE]; its gradient at the same place of `grads`. `patches` and
`places` keep what the backward pass needs of convolutions and poolings. `scratch` is free to use.
Weights have torch's layout.

Shapes: b records, I inputs, O outputs or output channels, P output positions, K = kernel elements
times input channels.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]
Plan = NDArray[np.int64]

compiled: Any = numba.njit(nogil=True, cache=True)
summing: Any = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})

f32 = np.float32
u64 = np.uint64  # an index that cannot be negative needs no check, and its loop becomes vectors

DENSE, CONV, PAD, POOL, MEAN, RELU, TANH, SQUARE = range(8)

# Columns of a plan. AUX: where in `patches` or `places`. PASS_ON: its inputs need a gradient.
(KIND, IN, IN_SIZE, OUT, OUT_SIZE, WEIGHT, BIAS, AUX, PASS_ON) = range(9)
(CHANNELS, HEIGHT, WIDTH, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W) = range(9, 16)
(PAD_H, PAD_W, OUT_H, OUT_W) = range(16, 20)
NUM_COLUMNS = 20

FEW = 16  # records for which plain loops beat a matrix product
ROUNDING = 2.0**-22  # of a clip factor and of the products with it, in float32


@compiled  # type: ignore[untyped-decorator]
def logits(
    plan: Plan, w: Floats, x: Floats, block: int, values: Floats, patches: Floats, places: Floats,
    scratch: Floats,
) -> Floats:  # fmt: skip
    """The last operation's outputs [B, O] for the records x [B, inputs]."""
    last = plan[-1]
    out = np.empty((len(x), last[OUT_SIZE]), np.float32)
    for start in range(0, len(x), block):
        part = x[start : start + block]
        _forward(plan, w, part, block, values, patches, places, scratch)
        out[start : start + block] = _rows(values, last[OUT] * block, len(part), last[OUT_SIZE])
    return out


@compiled  # type: ignore[untyped-decorator]
def add_clipped_sum(
    plan: Plan, w: Floats, x: Floats, y: NDArray[np.int64], clip: float, block: int,
    values: Floats, grads: Floats, patches: Floats, places: Floats, scratch: Floats,
    total: Sums,
) -> float:  # fmt: skip
    """Add to `total` the clipped gradient of each record's softmax cross-entropy.

    Args:
        x: records [B, inputs]; y: their labels [B].
        total: in the layout of the weights w; a block's sum is in float32, all else in float64.

    Returns:
        The sum of the losses.
    """
    last, loss = plan[-1], 0.0
    for start in range(0, len(x), block):
        labels = y[start : start + block]
        b = len(labels)
        _forward(plan, w, x[start : start + b], block, values, patches, places, scratch)
        outputs = _rows(values, last[OUT] * block, b, last[OUT_SIZE])
        g = _rows(grads, last[OUT] * block, b, last[OUT_SIZE])
        for s in range(b):
            shifted = outputs[s] - outputs[s].max()
            e = np.exp(shifted)
            loss += np.log(e.sum()) - shifted[labels[s]]
            g[s] = e / e.sum()
            g[s, labels[s]] -= f32(1)
        _backward(plan, w, block, b, values, grads, places, scratch)
        _add_clipped(plan, clip, block, b, values, grads, patches, scratch, total)
    return loss


@compiled  # type: ignore[untyped-decorator]
def _forward(
    plan: Plan, w: Floats, x: Floats, block: int, values: Floats, patches: Floats, places: Floats,
    scratch: Floats,
) -> None:  # fmt: skip
    """Outputs of all operations for the records x [b, inputs], b <= block, into `values`."""
    b = len(x)
    values[: x.size] = x.ravel()
    for op in plan:
        a = _rows(values, op[IN] * block, b, op[IN_SIZE])
        y = _rows(values, op[OUT] * block, b, op[OUT_SIZE])
        if op[KIND] == DENSE:
            np.dot(a, _rows(w, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE]).T, y)
            if op[BIAS] >= 0:
                y += w[op[BIAS] :][: op[OUT_SIZE]]
        elif op[KIND] == CONV:
            O, P, K = _conv_shape(op)  # noqa: E741
            y_PO, weight_KO = _rows(scratch, 0, P, O), _rows(scratch, P * O, K, O)
            weight_KO[:] = _rows(w, op[WEIGHT], O, K).T
            for s in range(b):
                x_PK = _rows(patches, op[AUX] * block + s * P * K, P, K)
                _unfold(a[s], op, x_PK)
                np.dot(x_PK, weight_KO, y_PO)
                for o in range(O):
                    bias = w[op[BIAS] + o] if op[BIAS] >= 0 else f32(0)
                    channel = y[s, o * P :]
                    for p in range(P):
                        channel[p] = y_PO[p, o] + bias
        elif op[KIND] == PAD:
            y[:] = 0
            for s in range(b):
                for line in range(op[CHANNELS] * op[HEIGHT]):
                    inside = y[s, _border(op, line) :][: op[WIDTH]]
                    inside[:] = a[s, line * op[WIDTH] :][: op[WIDTH]]
        elif op[KIND] == POOL:
            for s in range(b):
                pool(a[s], op[HEIGHT], op[WIDTH], y[s], _places(places, block, s, op))
        elif op[KIND] == MEAN:
            for s in range(b):
                _average(a[s], op, y[s])
        else:
            values_in, values_out = a.ravel(), y.ravel()
            if op[KIND] == RELU:
                for i in range(len(values_in)):
                    v = values_in[i]
                    values_out[i] = f32(0) if v <= 0 else v  # a NaN is kept
            elif op[KIND] == TANH:
                for i in range(len(values_in)):
                    values_out[i] = _tanh(values_in[i])
            else:
                for i in range(len(values_in)):
                    values_out[i] = values_in[i] * values_in[i]


@compiled  # type: ignore[untyped-decorator]
def _backward(
    plan: Plan, w: Floats, block: int, b: int, values: Floats, grads: Floats, places: Floats,
    scratch: Floats,
) -> None:  # fmt: skip
    """Gradients of all operations' outputs, from that of the last one, which stands in `grads`."""
    for n in range(len(plan) - 1, -1, -1):
        op = plan[n]
        if not op[PASS_ON]:
            continue
        g = _rows(grads, op[OUT] * block, b, op[OUT_SIZE])
        to = _rows(grads, op[IN] * block, b, op[IN_SIZE])
        if op[KIND] == DENSE:
            np.dot(g, _rows(w, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE]), to)
        elif op[KIND] == CONV:
            O, P, K = _conv_shape(op)  # noqa: E741
            weight, x_PK = _rows(w, op[WEIGHT], O, K), _rows(scratch, 0, P, K)
            for s in range(b):
                np.dot(g[s].reshape(O, P).T, weight, x_PK)
                _fold(x_PK, op, to[s])
        elif op[KIND] == PAD:
            for s in range(b):
                for line in range(op[CHANNELS] * op[HEIGHT]):
                    inside = g[s, _border(op, line) :][: op[WIDTH]]
                    to[s, line * op[WIDTH] :][: op[WIDTH]] = inside
        elif op[KIND] == POOL:
            for s in range(b):
                unpool(g[s], op[HEIGHT], op[WIDTH], _places(places, block, s, op), to[s])
        elif op[KIND] == MEAN:
            for s in range(b):
                _spread(g[s], op, to[s])
        else:
            x = values[op[IN] * block :][: b * op[IN_SIZE]]
            y = values[op[OUT] * block :][: b * op[OUT_SIZE]]
            g_in, g_out = to.ravel(), g.ravel()
            if op[KIND] == RELU:
                for i in range(len(x)):
                    g_in[i] = g_out[i] if x[i] > 0 else f32(0)
            elif op[KIND] == TANH:
                for i in range(len(x)):
                    g_in[i] = g_out[i] * (f32(1) - y[i] * y[i])
            else:
                for i in range(len(x)):
                    g_in[i] = g_out[i] * (x[i] + x[i])


@compiled  # type: ignore[untyped-decorator]
def _add_clipped(
    plan: Plan, clip: float, block: int, b: int, values: Floats, grads: Floats, patches: Floats,
    scratch: Floats, total: Sums,
) -> None:  # fmt: skip
    """Add the clipped gradients of a block of b records to `total`.

    A dense layer's norm is |g|^2 (|x|^2 + 1) (Goodfellow 2015), and its gradients are never made;
    a convolution's are made for one record at a time, in `scratch`. Norms are in float64, where no
    square of a float32 is lost, and are taken again after the clip: a record without a finite
    gradient, or whose clipped one is too long for whatever reason, adds nothing.
    """
    squares_x = np.zeros((len(plan), b))
    squares = np.zeros(b)
    for n in range(len(plan)):
        op = plan[n]
        if op[KIND] == DENSE:
            a = _rows(values, op[IN] * block, b, op[IN_SIZE])
            g = _rows(grads, op[OUT] * block, b, op[OUT_SIZE])
            for s in range(b):
                squares_x[n, s] = _square(a[s]) + (op[BIAS] >= 0)
                squares[s] += _square(g[s]) * squares_x[n, s]
    for s in range(b):
        squares_conv = 0.0
        for op in plan:
            if op[KIND] == CONV:
                squares_conv += _conv_gradient(op, s, block, grads, patches, scratch)
        norm = np.sqrt(squares[s] + squares_conv)
        factor = f32(1)
        if norm > clip * (1 - ROUNDING):
            factor = f32(clip / norm * (1 - ROUNDING))
        clipped = np.float64(factor) * np.float64(factor) * squares_conv
        for n in range(len(plan)):
            op = plan[n]
            if op[KIND] == DENSE:
                g_s = grads[op[OUT] * block + s * op[OUT_SIZE] :][: op[OUT_SIZE]]
                g_s *= factor
                clipped += _square(g_s) * squares_x[n, s]
        kept = clipped <= clip * clip and norm < np.inf  # and no NaN
        for op in plan:
            if op[KIND] == CONV and kept:
                O, _, K = _conv_shape(op)  # noqa: E741
                size = O * K + (O if op[BIAS] >= 0 else 0)
                _add(total[op[WEIGHT] :], factor, scratch[op[WEIGHT] :][:size])
            elif op[KIND] == DENSE and not kept:  # infinity times zero would be no number
                grads[op[OUT] * block + s * op[OUT_SIZE] :][: op[OUT_SIZE]] = 0
                values[op[IN] * block + s * op[IN_SIZE] :][: op[IN_SIZE]] = 0
    for op in plan:
        if op[KIND] == DENSE:
            a = _rows(values, op[IN] * block, b, op[IN_SIZE])
            g = _rows(grads, op[OUT] * block, b, op[OUT_SIZE])
            if b > FEW:
                part = scratch[: op[OUT_SIZE] * op[IN_SIZE]]
                np.dot(g.T, a, part.reshape(op[OUT_SIZE], op[IN_SIZE]))
                _add(total[op[WEIGHT] :], f32(1), part)
            else:
                for o in range(op[OUT_SIZE]):
                    row = total[op[WEIGHT] + o * op[IN_SIZE] :]
                    for s in range(b):
                        _add(row, g[s, o], a[s])
            if op[BIAS] >= 0:
                for s in range(b):
                    _add(total[op[BIAS] :], f32(1), g[s])


@compiled  # type: ignore[untyped-decorator]
def _conv_gradient(
    op: Plan, s: int, block: int, grads: Floats, patches: Floats, scratch: Floats
) -> float:
    """The gradient of record s, in `scratch` where `total` has the sum; its squared norm."""
    O, P, K = _conv_shape(op)  # noqa: E741
    g = _rows(grads, op[OUT] * block + s * op[OUT_SIZE], O, P)
    np.dot(
        g,
        _rows(patches, op[AUX] * block + s * P * K, P, K),
        _rows(scratch, op[WEIGHT], O, K),
    )
    size = O * K
    if op[BIAS] >= 0:  # the bias stands behind the weight
        np.dot(g, np.ones(P, np.float32), scratch[op[BIAS] :][:O])
        size += O
    return _square(scratch[op[WEIGHT] :][:size])


@compiled  # type: ignore[untyped-decorator]
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


@compiled  # type: ignore[untyped-decorator]
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


@compiled  # type: ignore[untyped-decorator]
def _average(x: Floats, op: Plan, out: Floats) -> None:
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


@compiled  # type: ignore[untyped-decorator]
def _spread(g: Floats, op: Plan, out: Floats) -> None:
    """The transpose of `_average`; what no window holds gets zero."""
    num_lines, num, out_h, out_w = op[KERNEL_H], op[KERNEL_W], op[OUT_H], op[OUT_W]
    out[:] = 0
    for at in range(op[CHANNELS] * out_h):
        for i in range(num_lines):
            line = out[(at // out_h * op[HEIGHT] + at % out_h * num_lines + i) * op[WIDTH] :]
            for q in range(out_w):
                for j in range(num):
                    line[q * num + j] = g[at * out_w + q] / f32(num_lines * num)


@compiled  # type: ignore[untyped-decorator]
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


@compiled  # type: ignore[untyped-decorator]
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


@compiled  # type: ignore[untyped-decorator]
def _copy_4(x: Floats, at: Any, out: Floats, to: Any) -> None:
    a, b, c, d = x[at], x[at + u64(1)], x[at + u64(2)], x[at + u64(3)]
    out[to], out[to + u64(1)], out[to + u64(2)], out[to + u64(3)] = a, b, c, d


@compiled  # type: ignore[untyped-decorator]
def _add_4(x: Floats, to: Any, g: Floats, at: Any) -> None:
    a, b, c, d = x[to], x[to + u64(1)], x[to + u64(2)], x[to + u64(3)]
    e, f, h, i = g[at], g[at + u64(1)], g[at + u64(2)], g[at + u64(3)]
    x[to], x[to + u64(1)], x[to + u64(2)], x[to + u64(3)] = a + e, b + f, c + h, d + i


@compiled  # type: ignore[untyped-decorator]
def _add(total: Sums, factor: Any, part: Floats) -> None:
    """total += factor * part"""
    for i in range(len(part)):
        total[i] += np.float64(factor) * np.float64(part[i])


@summing  # type: ignore[untyped-decorator]
def _square(row: Floats) -> Any:
    total = np.float64(0)
    for i in range(len(row)):
        total += np.float64(row[i]) * np.float64(row[i])
    return total


@compiled  # type: ignore[untyped-decorator]
def _rows(flat: Floats, at: int, rows: int, columns: int) -> Floats:
    return flat[at : at + rows * columns].reshape(rows, columns)


@compiled  # type: ignore[untyped-decorator]
def _conv_shape(op: Plan) -> tuple[int, int, int]:
    P = op[OUT_H] * op[OUT_W]
    return op[OUT_SIZE] // P, P, op[CHANNELS] * op[KERNEL_H] * op[KERNEL_W]


@compiled  # type: ignore[untyped-decorator]
def _places(places: Floats, block: int, s: int, op: Plan) -> Floats:
    size = op[IN_SIZE] + op[WIDTH] + 1
    return places[op[AUX] * block + s * size :][:size]


@compiled  # type: ignore[untyped-decorator]
def _border(op: Plan, line: int) -> int:
    """Where line `line` of all channels begins in the image with a border."""
    channel, y = line // op[HEIGHT], line % op[HEIGHT]
    return (channel * op[OUT_H] + y + op[PAD_H]) * op[OUT_W] + op[PAD_W]


@compiled  # type: ignore[untyped-decorator]
def _tanh(x: Any) -> Any:
    """Rational approximation, within a few units in the last place; no branch, so it vectorises."""
    x = f32(7.90531110763549805) if x > f32(7.90531110763549805) else x
    x = f32(-7.90531110763549805) if x < f32(-7.90531110763549805) else x
    s = x * x
    p = f32(-2.76076847742355e-16) * s + f32(2.00018790482477e-13)
    p = p * s + f32(-8.60467152213735e-11)
    p = p * s + f32(5.12229709037114e-08)
    p = p * s + f32(1.48572235717979e-05)
    p = p * s + f32(6.37261928875436e-04)
    p = p * s + f32(4.89352455891786e-03)
    q = f32(1.19825839466702e-06) * s + f32(1.18534705686654e-04)
    q = q * s + f32(2.26843463243900e-03)
    q = q * s + f32(4.89352518554385e-03)
    return x * p / q
