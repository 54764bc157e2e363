"""A plan walked over `LANES` records abreast: outputs, gradients, and their clipped sum.

As `walk`, for nets with images that lie channel after channel. An operation's output stands at
`values[OUT * LANES :]` as [OUT_SIZE, LANES], and a record's gradient in a column of `made`
[weights, LANES]. Of a block of fewer records the other columns are zero, or nobody reads them.
"""

import numpy as np

from privacy.dp.kernels import lanes
from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import activate, activate_back, add, copy, pass_on, sum_up
from privacy.dp.kernels.plan import (
    ADD,
    ADD_TO,
    AUX,
    BIAS,
    CONV,
    DENSE,
    IN,
    IN_GRAD,
    IN_SIZE,
    KIND,
    MEAN,
    NUM_WEIGHTS,
    OTHER,
    OTHER_GRAD,
    OUT,
    OUT_GRAD,
    OUT_SIZE,
    PAD,
    PASS_ON,
    PASS_ON_OTHER,
    POOL,
    ROUNDING,
    WEIGHT,
    Floats,
    Plan,
    Sums,
    f32,
    rows,
)
from privacy.dp.kernels.tiles import LANES


@compiled
def forward(plan: Plan, w: Floats, x: Floats, values: Floats, notes: Floats) -> None:
    """Outputs of all operations for the records x [b, inputs], b <= LANES, into `values`.

    Args:
        w: weights.
    """
    b, inputs = x.shape
    values[: inputs * LANES] = 0
    for s in range(b):
        for i in range(inputs):
            values[i * LANES + s] = x[s, i]
    for n in range(len(plan)):
        op, kind = plan[n], plan[n, KIND]
        a = values[op[IN] * LANES :][: op[IN_SIZE] * LANES]
        y = values[op[OUT] * LANES :][: op[OUT_SIZE] * LANES]
        if kind == DENSE:
            weight = rows(w, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE])
            np.dot(weight, a.reshape(-1, LANES), y.reshape(-1, LANES))
            if op[BIAS] >= 0:
                for o in range(op[OUT_SIZE]):
                    for s in range(LANES):
                        y[o * LANES + s] += w[op[BIAS] + o]
        elif kind == CONV:
            lanes.conv(op, a, w, y)
        elif kind == PAD:
            lanes.pad(op, a, y)
        elif kind == POOL:
            lanes.pool(op, a, y, notes[op[AUX] * LANES :])
        elif kind == MEAN:
            lanes.average(op, a, y)
        elif kind == ADD:
            sum_up(a, values[op[OTHER] * LANES :], y)
        else:
            activate(op, a, y)


@compiled
def backward(
    plan: Plan, w: Floats, values: Floats, grads: Floats, notes: Floats, made: Floats,
    scratch: Floats, trained: Sums, squares: Sums,
) -> None:  # fmt: skip
    """Gradients of all operations' outputs, from that of the last one, which stands in `grads`.

    Those of convolutions' weights are made too, while their outputs' are there.

    Args:
        trained: as for `walk.add_clipped`.
        squares: gets each record's sum of the squares of what was made, [LANES].
    """
    squares[:] = 0
    for n in range(len(plan) - 1, -1, -1):
        op, kind = plan[n], plan[n, KIND]
        g = grads[op[OUT_GRAD] * LANES :][: op[OUT_SIZE] * LANES]
        a = values[op[IN] * LANES :][: op[IN_SIZE] * LANES]
        if kind == ADD and op[PASS_ON_OTHER]:
            pass_on(op[PASS_ON_OTHER], g, grads[op[OTHER_GRAD] * LANES :])
        if kind == CONV:
            lanes.conv_gradient(op, a, g, made[op[WEIGHT] * LANES :], trained, squares)
        if not op[PASS_ON]:
            continue
        to = grads[op[IN_GRAD] * LANES :][: op[IN_SIZE] * LANES]
        if op[PASS_ON] == ADD_TO:
            to = scratch[len(scratch) - len(to) :]
        if kind == DENSE:
            weight = rows(w, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE])
            np.dot(weight.T, g.reshape(-1, LANES), to.reshape(-1, LANES))
        elif kind == CONV:
            lanes.conv_back(op, g, w, to)
        elif kind == PAD:
            lanes.pad_back(op, g, to)
        elif kind == POOL:
            lanes.unpool(op, g, notes[op[AUX] * LANES :], to)
        elif kind == MEAN:
            lanes.spread(op, g, to)
        elif kind == ADD:
            copy(g, to)
        else:
            y = values[op[OUT] * LANES :][: op[OUT_SIZE] * LANES]
            activate_back(op, a, y, g, to)
        if op[PASS_ON] == ADD_TO:
            pass_on(ADD_TO, to, grads[op[IN_GRAD] * LANES :])


@compiled
def add_clipped(
    plan: Plan, clip: float, b: int, values: Floats, grads: Floats, made: Floats, scratch: Floats,
    trained: Sums, squares_made: Sums, total: Sums,
) -> None:  # fmt: skip
    """As `walk.add_clipped`, of b <= LANES records, with the squares of what `backward` made."""
    squares, clipped = np.zeros(LANES), np.zeros(LANES)
    num = 0
    for n in range(len(plan)):
        num += plan[n, OUT_SIZE] if plan[n, KIND] == DENSE else 0
    seen, at = np.empty(num * LANES), 0
    for n in range(len(plan)):
        op = plan[n]
        if op[KIND] == DENSE:
            a = values[op[IN] * LANES :][: op[IN_SIZE] * LANES]
            g = grads[op[OUT_GRAD] * LANES :][: op[OUT_SIZE] * LANES]
            _see(op, a, trained, seen[at:])
            _add_weighed(g, seen[at:], squares)
            at += len(g)
    factors = np.zeros(LANES, np.float32)
    norms = np.sqrt(squares + squares_made)
    for s in range(b):
        factors[s] = f32(1)
        if norms[s] > clip * (1 - ROUNDING):
            factors[s] = f32(clip / norms[s] * (1 - ROUNDING))
        clipped[s] = np.float64(factors[s]) * np.float64(factors[s]) * squares_made[s]
    at = 0
    for n in range(len(plan)):
        op = plan[n]
        if op[KIND] == DENSE:
            g = grads[op[OUT_GRAD] * LANES :][: op[OUT_SIZE] * LANES]
            for i in range(len(g)):
                g[i] *= factors[i % LANES]
            _add_weighed(g, seen[at:], clipped)
            at += len(g)
    for s in range(LANES):
        if s >= b or not (clipped[s] <= clip * clip and norms[s] < np.inf):  # a NaN is neither
            _leave_out(plan, s, values, grads, made)
    for n in range(len(plan)):
        op = plan[n]
        if op[KIND] == CONV:
            part = scratch[: op[NUM_WEIGHTS]]
            lanes.mix(made[op[WEIGHT] * LANES :], factors, part)
            add(total[op[WEIGHT] :], f32(1), part)
        elif op[KIND] == DENSE:
            a = rows(values, op[IN] * LANES, op[IN_SIZE], LANES)
            g = rows(grads, op[OUT_GRAD] * LANES, op[OUT_SIZE], LANES)
            part = scratch[: op[OUT_SIZE] * op[IN_SIZE]]
            np.dot(g, a.T, part.reshape(op[OUT_SIZE], op[IN_SIZE]))
            add(total[op[WEIGHT] :], f32(1), part)
            if op[BIAS] >= 0:
                for o in range(op[OUT_SIZE]):
                    for s in range(b):
                        total[op[BIAS] + o] += np.float64(g[o, s])


@compiled
def _leave_out(plan: Plan, s: int, values: Floats, grads: Floats, made: Floats) -> None:
    """Zero what enters the sum of record s: infinity times zero would be no number."""
    for n in range(len(plan)):
        op = plan[n]
        if op[KIND] == CONV:
            for i in range(op[WEIGHT], op[WEIGHT] + op[NUM_WEIGHTS]):
                made[i * LANES + s] = 0
        elif op[KIND] == DENSE:
            for i in range(op[IN], op[IN] + op[IN_SIZE]):
                values[i * LANES + s] = 0
            for i in range(op[OUT_GRAD], op[OUT_GRAD] + op[OUT_SIZE]):
                grads[i * LANES + s] = 0


@compiled
def _see(op: Plan, a: Floats, trained: Sums, seen: Sums) -> None:
    """As `walk._see`: a [I, LANES], seen [O, LANES]."""
    bias = op[BIAS] >= 0
    if len(trained):
        squares = a.astype(np.float64).reshape(-1, LANES)
        squares *= squares
        weight = rows(trained, op[WEIGHT], op[OUT_SIZE], op[IN_SIZE])
        np.dot(weight, squares, rows(seen, 0, op[OUT_SIZE], LANES))
    else:
        sums = np.zeros(LANES)
        lanes.add_squares(a, sums)
        for i in range(op[OUT_SIZE] * LANES):
            seen[i] = sums[i % LANES]
    for o in range(op[OUT_SIZE]):
        more = (trained[op[BIAS] + o] if len(trained) else 1.0) if bias else 0.0
        for s in range(LANES):
            seen[o * LANES + s] += more


@compiled
def _add_weighed(x: Floats, weights: Sums, out: Sums) -> None:
    """Add each record's sum of weights * x^2 to `out`."""
    for i in range(len(x)):
        out[i % LANES] += weights[i] * (np.float64(x[i]) * np.float64(x[i]))
