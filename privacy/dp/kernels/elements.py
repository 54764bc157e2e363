"""Functions of each element, their gradients, squares and sums."""

from typing import Any

import numpy as np

from privacy.dp.kernels.compiling import compiled, summing
from privacy.dp.kernels.plan import ADD_TO, IN, KIND, OUT, RELU, TANH, Floats, Plan, Sums, f32


@compiled
def activate(op: Plan, x: Floats, y: Floats) -> None:
    """y = the function of x."""
    if op[IN] == op[OUT]:  # ReLU; a loop over one array becomes vectors, over one twice it does not
        for i in range(len(y)):
            v = y[i]
            y[i] = f32(0) if v <= 0 else v
    elif op[KIND] == RELU:
        for i in range(len(x)):
            v = x[i]
            y[i] = f32(0) if v <= 0 else v  # a NaN is kept
    elif op[KIND] == TANH:
        for i in range(len(x)):
            y[i] = _tanh(x[i])
    else:
        for i in range(len(x)):
            y[i] = x[i] * x[i]


@compiled
def activate_back(op: Plan, x: Floats, y: Floats, g: Floats, to: Floats) -> None:
    """The gradient of x, from that of y."""
    if op[IN] == op[OUT]:
        for i in range(len(y)):
            to[i] = to[i] if y[i] > 0 else f32(0)
    elif op[KIND] == RELU:
        for i in range(len(x)):
            to[i] = g[i] if x[i] > 0 else f32(0)
    elif op[KIND] == TANH:
        for i in range(len(x)):
            to[i] = g[i] * (f32(1) - y[i] * y[i])
    else:
        for i in range(len(x)):
            to[i] = g[i] * (x[i] + x[i])


@compiled
def copy(x: Any, out: Any) -> None:
    """out = x, which is faster to compile than an assignment that may broadcast."""
    for i in range(len(x)):
        out[i] = x[i]


@compiled
def pass_on(how: int, g: Floats, to: Floats) -> None:
    """Give a gradient to what another operation may have given some before."""
    for i in range(len(g)):
        to[i] = g[i] + (to[i] if how == ADD_TO else f32(0))


@compiled
def sum_up(a: Floats, b: Floats, y: Floats) -> None:
    """y = a + b"""
    for i in range(len(y)):
        y[i] = a[i] + b[i]


@compiled
def add(total: Sums, factor: Any, part: Floats) -> None:
    """total += factor * part"""
    for i in range(len(part)):
        total[i] += np.float64(factor) * np.float64(part[i])


@summing
def square(row: Floats) -> Any:
    total = np.float64(0)
    for i in range(len(row)):
        total += np.float64(row[i]) * np.float64(row[i])
    return total


@summing
def weighed(row: Floats, weights: Sums) -> Any:
    """The sum of weights * row^2."""
    total = np.float64(0)
    for i in range(len(row)):
        total += weights[i] * (np.float64(row[i]) * np.float64(row[i]))
    return total


@compiled
def keep(part: Floats, kept: Sums) -> None:
    """part *= kept, of zeros and ones"""
    for i in range(len(part)):
        part[i] *= f32(kept[i])


@compiled
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
