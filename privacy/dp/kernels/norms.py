"""Group normalisation (Wu and He 2018) of images whose channels lie last: [H, W, C].

Sums are in float64. Channels are few, so some positions together are one row of the loops, which
become vectors. All functions take one record, and its `note`: each group's mean and the reciprocal
of its deviation, then for each channel the sum of the outputs' gradient times the normalised input,
and of the gradient: those of the weight and of the bias.
"""

import numpy as np
from numpy.typing import NDArray

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import copy
from privacy.dp.kernels.plan import (
    AUX,
    BIAS,
    CHANNELS,
    EPS,
    GROUPS,
    WEIGHT,
    Floats,
    Plan,
    Sums,
    f32,
)

MOST_WIDTH = 128


@compiled
def note_of(op: Plan, notes: Floats, block: int, s: int) -> Floats:
    """The note of record s of a block."""
    size = 2 * (op[GROUPS] + op[CHANNELS])
    return notes[op[AUX] * block + s * size :][:size]


@compiled
def normalise(op: Plan, x: Floats, w: Floats, note: Floats, y: Floats) -> None:
    """(x - mean) / deviation of each group, times the weight, plus the bias: [P * C]."""
    channels, groups, width = op[CHANNELS], op[GROUPS], _width(op, len(x))
    num = len(x) // groups
    sums = np.zeros(width)
    for r in range(len(x) // width):
        row = x[r * width :]
        for c in range(width):
            sums[c] += np.float64(row[c])
    means = _by_group(sums, channels, groups)
    for group in range(groups):
        means[group] /= num
    mean = _spread(means, channels, width)
    sums[:] = 0
    for r in range(len(x) // width):
        row = x[r * width :]
        for c in range(width):
            d = np.float64(row[c] - mean[c])
            sums[c] += d * d
    eps = op[EPS : EPS + 1].view(np.float64)[0]
    factors = _by_group(sums, channels, groups)
    for group in range(groups):
        factors[group] = 1 / np.sqrt(factors[group] / num + eps)
    copy(means, note)
    copy(factors, note[groups:])
    scale, shift = _spread(factors, channels, width), np.zeros(width, np.float32)
    if op[WEIGHT] >= 0:
        for c in range(channels):
            scale[c] *= w[op[WEIGHT] + c]
            shift[c] = w[op[BIAS] + c]
        _repeat(scale, channels)
        _repeat(shift, channels)
    for r in range(len(x) // width):
        row, out = x[r * width :], y[r * width :]
        for c in range(width):
            out[c] = (row[c] - mean[c]) * scale[c] + shift[c]


@compiled
def sum_products(op: Plan, x: Floats, g: Floats, note: Floats, own: Floats) -> None:
    """Write the sums over positions into the note, and into the weights' gradient `own`."""
    channels, groups, width = op[CHANNELS], op[GROUPS], _width(op, len(x))
    mean, size = _spread(note[:groups], channels, width), channels // groups
    products, sums = np.zeros(width), np.zeros(width)
    for r in range(len(x) // width):
        row, row_g = x[r * width :], g[r * width :]
        for c in range(width):
            products[c] += np.float64((row[c] - mean[c]) * row_g[c])
            sums[c] += np.float64(row_g[c])
    out = note[2 * groups :]
    _fold(products, channels)
    _fold(sums, channels)
    for group in range(groups):
        for c in range(group * size, (group + 1) * size):
            out[c] = products[c] * note[groups + group]
    copy(sums[:channels], out[channels:])
    copy(out[: len(own)], own)  # nothing if there are no weights


@compiled
def normalise_back(op: Plan, x: Floats, w: Floats, g: Floats, note: Floats, to: Floats) -> None:
    """The gradient of x, from that of the outputs and the note's sums."""
    channels, groups, width = op[CHANNELS], op[GROUPS], _width(op, len(x))
    size, num = channels // groups, len(x) // groups
    scale, level = np.empty(width, np.float32), np.empty(width, np.float32)
    slope = np.empty(width, np.float32)
    for group in range(groups):
        product, total, factor = 0.0, 0.0, np.float64(note[groups + group])
        for c in range(group * size, (group + 1) * size):
            weight = w[op[WEIGHT] + c] if op[WEIGHT] >= 0 else f32(1)
            product += np.float64(weight) * note[2 * groups + c]
            total += np.float64(weight) * note[2 * groups + channels + c]
            scale[c] = weight * f32(factor)
        for c in range(group * size, (group + 1) * size):
            level[c], slope[c] = factor * total / num, factor * factor * product / num
    mean = _spread(note[:groups], channels, width)
    for numbers in (scale, level, slope):
        _repeat(numbers, channels)
    for r in range(len(x) // width):
        row, row_g, out = x[r * width :], g[r * width :], to[r * width :]
        for c in range(width):
            out[c] = row_g[c] * scale[c] - level[c] - (row[c] - mean[c]) * slope[c]


@compiled
def _width(op: Plan, size: int) -> int:
    """Numbers in a row of the loops: some positions, all channels."""
    width = op[CHANNELS]
    while 2 * width <= MOST_WIDTH and size % (2 * width) == 0:
        width *= 2
    return width


@compiled
def _by_group(sums: Sums, channels: int, groups: int) -> Sums:
    out, size = np.zeros(groups), channels // groups
    _fold(sums, channels)
    for group in range(groups):
        for c in range(group * size, (group + 1) * size):
            out[group] += sums[c]
    return out


@compiled
def _fold(sums: Sums, channels: int) -> None:
    """Sums of some positions side by side become those of all, in front."""
    for start in range(channels, len(sums), channels):
        for c in range(channels):
            sums[c] += sums[start + c]


@compiled
def _spread(numbers: NDArray, channels: int, width: int) -> Floats:
    """Each group's number at all of its channels, for some positions side by side."""
    out, size = np.empty(width, np.float32), channels // len(numbers)
    for group in range(len(numbers)):
        for c in range(group * size, (group + 1) * size):
            out[c] = numbers[group]
    _repeat(out, channels)
    return out


@compiled
def _repeat(out: Floats, channels: int) -> None:
    for start in range(channels, len(out), channels):
        copy(out[:channels], out[start:])
