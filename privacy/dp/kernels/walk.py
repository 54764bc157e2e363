"""A plan walked over a block of records: outputs, gradients, and their clipped sum."""

import numpy as np

from privacy.dp.kernels import depthwise, last, norms, windows
from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import (
    activate,
    activate_back,
    add,
    copy,
    keep,
    pass_on,
    square,
    sum_up,
    weighed,
)
from privacy.dp.kernels.plan import (
    ADD,
    ADD_TO,
    AUX,
    BIAS,
    DENSE,
    DEPTHWISE,
    IN,
    IN_GRAD,
    IN_SIZE,
    KIND,
    LAST_CONV,
    LAST_MAX,
    LAST_MEAN,
    NORM,
    NUM_WEIGHTS,
    OTHER,
    OTHER_GRAD,
    OUT,
    OUT_GRAD,
    OUT_SIZE,
    PASS_ON,
    PASS_ON_OTHER,
    ROUNDING,
    TURN,
    WEIGHT,
    Floats,
    Plan,
    Sums,
    f32,
    rows,
)

FEW = 16  # records for which plain loops beat a matrix product


@compiled
def forward(
    plan: Plan, w: Floats, x: Floats, block: int, values: Floats, notes: Floats, scratch: Floats,
) -> None:  # fmt: skip
    """Outputs of all operations for the records x [b, inputs], b <= block, into `values`.

    Args:
        w: weights.
    """
    b = len(x)
    copy(x.ravel(), values)
    for n in range(len(plan)):
        op, kind = plan[n], plan[n, KIND]
        a = rows(values, op[IN] * block, b, op[IN_SIZE])
        y = rows(values, op[OUT] * block, b, op[OUT_SIZE])
        if kind == DENSE:
            np.dot(a, rows(w, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE]).T, y)
            if op[BIAS] >= 0:
                for s in range(b):
                    sum_up(y[s], w[op[BIAS] :], y[s])
        elif kind == ADD:
            other = values[op[OTHER] * block :][: b * op[OUT_SIZE]]
            sum_up(a.ravel(), other, y.ravel())
        elif kind in (TURN, LAST_CONV, DEPTHWISE, LAST_MEAN, LAST_MAX, NORM):
            for s in range(b):
                if kind == TURN:
                    last.turn(op, a[s], y[s])
                elif kind == LAST_CONV:
                    last.conv(op, a[s], w, scratch, y[s])
                elif kind == DEPTHWISE:
                    depthwise.conv(op, a[s], w, scratch, y[s])
                elif kind == LAST_MEAN:
                    windows.mean(op, a[s], y[s])
                elif kind == LAST_MAX:
                    windows.maximum(op, a[s], y[s], notes[op[AUX] * block + s * op[OUT_SIZE] :])
                else:
                    norms.normalise(op, a[s], w, norms.note_of(op, notes, block, s), y[s])
        else:
            activate(op, a.ravel(), y.ravel())


@compiled
def backward(
    plan: Plan, w: Floats, turned: Floats, block: int, b: int, values: Floats, grads: Floats,
    notes: Floats, made: Floats, scratch: Floats,
) -> None:  # fmt: skip
    """Gradients of all operations' outputs, from that of the last one, which stands in `grads`.

    Those of weights on images whose channels lie last are made too, while their outputs' are there.

    Args:
        turned: weights as the backward pass of LAST_CONV wants them.
    """
    for n in range(len(plan) - 1, -1, -1):
        op = plan[n]
        kind = op[KIND]
        g = rows(grads, op[OUT_GRAD] * block, b, op[OUT_SIZE])
        a = rows(values, op[IN] * block, b, op[IN_SIZE])
        if kind == ADD and op[PASS_ON_OTHER]:
            pass_on(op[PASS_ON_OTHER], g.ravel(), grads[op[OTHER_GRAD] * block :])
        if kind in (LAST_CONV, DEPTHWISE, NORM):
            for s in range(b):
                own = made[s * len(w) + op[WEIGHT] :][: op[NUM_WEIGHTS]]
                if kind == LAST_CONV:
                    last.conv_gradient(op, a[s], g[s], scratch, own)
                elif kind == DEPTHWISE:
                    depthwise.conv_gradient(op, a[s], g[s], scratch, own)
                else:
                    norms.sum_products(op, a[s], g[s], norms.note_of(op, notes, block, s), own)
        if not op[PASS_ON]:
            continue
        to = rows(grads, op[IN_GRAD] * block, b, op[IN_SIZE])
        if op[PASS_ON] == ADD_TO:
            to = rows(scratch, len(scratch) - to.size, b, op[IN_SIZE])
        if kind == DENSE:
            np.dot(g, rows(w, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE]), to)
        elif kind == ADD:
            copy(g.ravel(), to.ravel())
        elif kind in (TURN, LAST_CONV, DEPTHWISE, LAST_MEAN, LAST_MAX, NORM):
            for s in range(b):
                if kind == TURN:
                    last.turn_back(op, g[s], to[s])
                elif kind == LAST_CONV:
                    last.conv_back(op, g[s], turned, scratch, to[s])
                elif kind == DEPTHWISE:
                    depthwise.conv_back(op, g[s], w, scratch, to[s])
                elif kind == LAST_MEAN:
                    windows.mean_back(op, g[s], to[s])
                elif kind == LAST_MAX:
                    note = notes[op[AUX] * block + s * op[OUT_SIZE] :]
                    windows.maximum_back(op, g[s], note, to[s])
                else:
                    note = norms.note_of(op, notes, block, s)
                    norms.normalise_back(op, a[s], w, g[s], note, to[s])
        else:
            y = values[op[OUT] * block :][: b * op[OUT_SIZE]]
            activate_back(op, a.ravel(), y, g.ravel(), to.ravel())
        if op[PASS_ON] == ADD_TO:
            pass_on(ADD_TO, to.ravel(), grads[op[IN_GRAD] * block :])


@compiled
def add_clipped(
    plan: Plan, num_weights: int, clip: float, block: int, b: int, values: Floats, grads: Floats,
    made: Floats, scratch: Floats, trained: Sums, total: Sums,
) -> None:  # fmt: skip
    """Add the clipped gradients of a block of b records to `total`, in the layout of the weights.

    A dense layer's norm is |g|^2 (|x|^2 + 1) (Goodfellow 2015), and its gradients are never made;
    all others' are in `made`, or are made there for one record at a time. Norms are in float64,
    where no square of a float32 is lost, and are taken again after the clip: a record without a
    finite gradient, or whose clipped one is too long for whatever reason, adds nothing. A block's
    sum is in float32, all else in float64.

    Args:
        trained: 1 of each weight that is, 0 of one that is pruned, whose gradient is no part of a
            norm; empty: all are. What `total` gets of it is for the caller to take away.
    """
    seen = np.empty(len(values) // block * b)  # [b, outputs] of each dense layer
    squares = np.zeros(b)
    for n in range(len(plan)):
        op = plan[n]
        if op[KIND] == DENSE:
            a = rows(values, op[IN] * block, b, op[IN_SIZE])
            g = rows(grads, op[OUT_GRAD] * block, b, op[OUT_SIZE])
            seen_n = rows(seen, op[OUT] * b, b, op[OUT_SIZE])
            _see(op, a, trained, seen_n)
            for s in range(b):
                squares[s] += weighed(g[s], seen_n[s])
    for s in range(b):
        own = made[s * num_weights :][:num_weights]
        squares_made = 0.0
        for n in range(len(plan)):
            op = plan[n]
            if op[KIND] != DENSE:
                own_n = own[op[WEIGHT] :][: op[NUM_WEIGHTS]]
                if len(trained):
                    keep(own_n, trained[op[WEIGHT] :])
                squares_made += square(own_n)
        norm = np.sqrt(squares[s] + squares_made)
        factor = f32(1)
        if norm > clip * (1 - ROUNDING):
            factor = f32(clip / norm * (1 - ROUNDING))
        clipped = np.float64(factor) * np.float64(factor) * squares_made
        for n in range(len(plan)):
            op = plan[n]
            if op[KIND] == DENSE:
                g_s = grads[op[OUT_GRAD] * block + s * op[OUT_SIZE] :][: op[OUT_SIZE]]
                for i in range(len(g_s)):
                    g_s[i] *= factor
                clipped += weighed(g_s, rows(seen, op[OUT] * b, b, op[OUT_SIZE])[s])
        kept = clipped <= clip * clip and norm < np.inf  # and no NaN
        for n in range(len(plan)):
            op = plan[n]
            if op[KIND] != DENSE and kept:
                add(total[op[WEIGHT] :], factor, own[op[WEIGHT] :][: op[NUM_WEIGHTS]])
            elif op[KIND] == DENSE and not kept:  # infinity times zero would be no number
                grads[op[OUT_GRAD] * block + s * op[OUT_SIZE] :][: op[OUT_SIZE]] = 0
                values[op[IN] * block + s * op[IN_SIZE] :][: op[IN_SIZE]] = 0
    for n in range(len(plan)):
        op = plan[n]
        if op[KIND] == DENSE:
            a = rows(values, op[IN] * block, b, op[IN_SIZE])
            g = rows(grads, op[OUT_GRAD] * block, b, op[OUT_SIZE])
            if b > FEW:
                part = scratch[: op[OUT_SIZE] * op[IN_SIZE]]
                np.dot(g.T, a, part.reshape(op[OUT_SIZE], op[IN_SIZE]))
                add(total[op[WEIGHT] :], f32(1), part)
            else:
                for o in range(op[OUT_SIZE]):
                    row = total[op[WEIGHT] + o * op[IN_SIZE] :]
                    for s in range(b):
                        add(row, g[s, o], a[s])
            if op[BIAS] >= 0:
                for s in range(b):
                    add(total[op[BIAS] :], f32(1), g[s])


@compiled
def _see(op: Plan, a: Floats, trained: Sums, seen: Sums) -> None:
    """What the weights of each output of a dense layer read, squared: |x|^2 of those trained, +1 of
    a bias. a [b, I], seen [b, O].
    """
    if len(trained):
        squares = a.astype(np.float64)
        squares *= squares
        np.dot(squares, rows(trained, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE]).T, seen)
    for s in range(len(a)):
        for o in range(op[OUT_SIZE]):
            if len(trained):
                seen[s, o] += trained[op[BIAS] + o] if op[BIAS] >= 0 else 0.0
            elif o:
                seen[s, o] = seen[s, 0]
            else:
                seen[s, o] = square(a[s]) + (op[BIAS] >= 0)
