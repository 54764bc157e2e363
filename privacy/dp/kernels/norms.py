"""Group normalisation (Wu and He 2018) of images whose channels lie last: [H, W, C].

Sums are in float64. Channels are few, so some positions together are one row of the loops, which
become vectors. All functions take one record, and its `note`: each group's mean and the reciprocal
of its deviation, then for each channel the sum of the outputs' gradient times the normalised input,
and of the gradient: those of the weight and of the bias.
"""

import numpy as np

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.plan import (
    AUX,
    BIAS,
    CHANNELS,
    EPS,
    GROUPS,
    WEIGHT,
    Floats,
    Plan,
    f32,
)

MOST_WIDTH = 256


@compiled  # type: ignore[untyped-decorator]
def note_of(op: Plan, notes: Floats, block: int, s: int) -> Floats:
    """The note of record s of a block."""
    size = 2 * (op[GROUPS] + op[CHANNELS])
    return notes[op[AUX] * block + s * size :][:size]


@compiled  # type: ignore[untyped-decorator]
def products_of(op: Plan, note: Floats) -> Floats:
    """The gradient of weight and bias."""
    return note[2 * op[GROUPS] :]


@compiled  # type: ignore[untyped-decorator]
def normalise(op: Plan, x: Floats, w: Floats, note: Floats, y: Floats) -> None:
    """(x - mean) / deviation of each group, times the weight, plus the bias: [P * C]."""
    channels, groups, width = op[CHANNELS], op[GROUPS], _width(op, len(x))
    num = len(x) // groups
    sums = np.zeros(width)
    for r in range(len(x) // width):
        row = x[r * width :]
        for c in range(width):
            sums[c] += np.float64(row[c])
    means = _by_group(sums, channels, groups) / num
    mean = _spread(means, channels, width)
    sums[:] = 0
    for r in range(len(x) // width):
        row = x[r * width :]
        for c in range(width):
            d = np.float64(row[c] - mean[c])
            sums[c] += d * d
    eps = op[EPS : EPS + 1].view(np.float64)[0]
    factors = 1 / np.sqrt(_by_group(sums, channels, groups) / num + eps)
    note[:groups], note[groups : 2 * groups] = means, factors
    scale, shift = _spread(factors, channels, width), np.zeros(width, np.float32)
    if op[WEIGHT] >= 0:
        for c in range(width):
            scale[c] *= w[op[WEIGHT] + c % channels]
            shift[c] = w[op[BIAS] + c % channels]
    for r in range(len(x) // width):
        row, out = x[r * width :], y[r * width :]
        for c in range(width):
            out[c] = (row[c] - mean[c]) * scale[c] + shift[c]


@compiled  # type: ignore[untyped-decorator]
def sum_products(op: Plan, x: Floats, g: Floats, note: Floats) -> None:
    """Write the sums over positions into the note."""
    channels, groups, width = op[CHANNELS], op[GROUPS], _width(op, len(x))
    mean = _spread(note[:groups], channels, width)
    products, sums = np.zeros(width), np.zeros(width)
    for r in range(len(x) // width):
        row, row_g = x[r * width :], g[r * width :]
        for c in range(width):
            products[c] += np.float64((row[c] - mean[c]) * row_g[c])
            sums[c] += np.float64(row_g[c])
    out = note[2 * groups :]
    size = channels // groups
    for c in range(channels):
        product, total = 0.0, 0.0
        for at in range(c, width, channels):
            product += products[at]
            total += sums[at]
        out[c], out[channels + c] = product * note[groups + c // size], total


@compiled  # type: ignore[untyped-decorator]
def normalise_back(
    op: Plan, x: Floats, w: Floats, g: Floats, note: Floats, to: Floats
) -> None:
    """The gradient of x, from that of the outputs and the note's sums."""
    channels, groups, width = op[CHANNELS], op[GROUPS], _width(op, len(x))
    size, num = channels // groups, len(x) // groups
    products, sums = np.zeros(groups), np.zeros(groups)
    weight = np.ones(channels, np.float32)
    if op[WEIGHT] >= 0:
        weight[:] = w[op[WEIGHT] :][:channels]
    for c in range(channels):
        products[c // size] += np.float64(weight[c]) * note[2 * groups + c]
        sums[c // size] += np.float64(weight[c]) * note[2 * groups + channels + c]
    factors = note[groups : 2 * groups]
    mean, scale = _spread(note[:groups], channels, width), _spread(factors, channels, width)
    for c in range(width):
        scale[c] *= weight[c % channels]
    level = _spread(factors * sums / num, channels, width)
    slope = _spread(factors * factors * products / num, channels, width)
    for r in range(len(x) // width):
        row, row_g, out = x[r * width :], g[r * width :], to[r * width :]
        for c in range(width):
            out[c] = row_g[c] * scale[c] - level[c] - (row[c] - mean[c]) * slope[c]


@compiled  # type: ignore[untyped-decorator]
def _width(op: Plan, size: int) -> int:
    """Numbers in a row of the loops: some positions, all channels."""
    width = op[CHANNELS]
    while 2 * width <= MOST_WIDTH and size % (2 * width) == 0:
        width *= 2
    return width


@compiled  # type: ignore[untyped-decorator]
def _by_group(sums: np.ndarray, channels: int, groups: int) -> np.ndarray:
    out, size = np.zeros(groups), channels // groups
    for i in range(len(sums)):
        out[i % channels // size] += sums[i]
    return out


@compiled  # type: ignore[untyped-decorator]
def _spread(numbers: np.ndarray, channels: int, width: int) -> Floats:
    """Each group's number at all of its channels."""
    out, size = np.empty(width, np.float32), channels // len(numbers)
    for i in range(width):
        out[i] = f32(numbers[i % channels // size])
    return out
