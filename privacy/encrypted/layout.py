"""Which slot holds what: the layouts of inputs, and the diagonals of matrices.

One rule places every weight: the slots that an output owns must between them meet each of its
inputs once. So a layout may repeat, shift or pad its inputs at will, and a strided convolution,
whose patches the client packs (im2col), is the same product, rotated in steps of as many slots as
there are windows.

Shapes: S slots, F features of a layout, R outputs of a layer, D diagonals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.encrypted.net import Array, Dense, Net, Places, patches


@dataclass(frozen=True, eq=False)
class Matrix:
    """A layer over the features of a layout: weight [R, F], bias [R].

    Attributes:
        support: bool [R, F], where the weight may be other than zero.
    """

    weight: Array
    bias: Array
    support: NDArray[np.bool_]


def matrices(net: Net) -> tuple[int, Places, list[Matrix]]:
    """A net's layers as matrices.

    Returns:
        The unit of rotation of the first; the pixel of each of its features, -1 for padding; and
        the matrices.
    """
    first = net.layers[0]
    if isinstance(first, Dense):
        unit, features = 1, np.arange(first.weight.shape[1])
        outputs = np.arange(len(first.bias))  # the padded output that each true output is
        found = [Matrix(first.weight, first.bias, np.ones(first.weight.shape, bool))]
    else:
        channels, k, _ = first.weight.shape
        pixels = patches(first, net.pooled)
        windows = pixels.shape[1]
        unit = power_of_two(windows)
        padded = np.full((k * k, unit), -1)
        padded[:, :windows] = pixels
        features = padded.ravel()
        window = np.zeros(unit)
        window[:windows] = 1
        each_window = np.diag(window)
        found = [
            Matrix(
                np.kron(first.weight.reshape(channels, -1), each_window),
                np.kron(first.bias, window),
                np.kron(np.ones((channels, k * k)), each_window) > 0,
            )
        ]
        outputs = np.flatnonzero(np.tile(window, channels))
    for layer in net.layers[1:]:
        assert isinstance(layer, Dense)
        weight = np.zeros((len(layer.bias), len(found[-1].bias)))
        weight[:, outputs] = layer.weight
        support = np.zeros(weight.shape, bool)
        support[:, outputs] = True
        found.append(Matrix(weight, layer.bias, support))
        outputs = np.arange(len(layer.bias))
    return unit, features, found


@dataclass(frozen=True, eq=False)
class Spread:
    """Where the outputs of a product arise.

    Attributes:
        row: int [S], the output to whose sum each slot contributes, -1 for none.
        sum_steps: rotations after which the sums are whole.
        layout: int [S], the output that each slot holds then, -1 where it is of no use.
        span: what is placed on so many slots is repeated on the others.
    """

    row: Places
    sum_steps: tuple[int, ...]
    layout: Places
    span: int


def whole(outputs: int, slots: int, span: int) -> Spread:
    """Sums round the whole circle: every slot ends as a whole output or as zero.

    Args:
        span: the slots after which the input repeats.
    """
    period = power_of_two(outputs)
    place = np.arange(slots) % period
    row = np.where(place < outputs, place, -1)
    return Spread(row, _doublings(period, max(period, span)), row, max(period, span))


def blocks(outputs: int, slots: int, span: int) -> Spread:
    """Each copy of the input serves outputs of its own, so that diagonals are fewer.

    The sums are whole only in the first slots of a copy; what is in its other slots must meet
    nothing but zeros in the next product.
    """
    each = max(1, power_of_two(outputs) * span // slots)
    place = np.arange(slots)
    row = each * (place // span) + place % each
    row = np.where(row < outputs, row, -1)
    layout = np.where(place % span < each, row, -1)
    return Spread(row, _doublings(each, span), layout, slots)


def _doublings(first: int, end: int) -> tuple[int, ...]:
    steps = []
    while first < end:
        steps.append(first)
        first *= 2
    return tuple(steps)


def lay_inputs(matrix: Matrix, unit: int, slots: int) -> tuple[Places, Array] | None:
    """Fill the slots with copies of the inputs, each shifted by the diagonals of those before it.

    The shifts make each copy serve diagonals of its own, so that fewer rotations are needed. A slot
    is a complex number: its real and its imaginary part hold an input each, and the real part of
    the product is x_re w_re - x_im w_im, two terms at once.

    Returns:
        The feature in each part of each slot [2, S], -1 for none, and the complex diagonals [D, S];
        or None if there is no room.
    """
    outputs, features = matrix.weight.shape
    period = power_of_two(outputs)
    row = whole(outputs, slots, slots).row
    best: tuple[Places, Array] | None = None
    for size in (power_of_two(features), 2 * power_of_two(features)):
        if size > slots:
            continue
        fewest = max(1, period * size // (2 * slots) // unit)
        for num in (fewest, 2 * fewest, 4 * fewest, period):
            if best is not None and num >= len(best[1]):
                break
            copy = np.full(size, -1)
            margin = min(num * unit, size - features)  # for rotations that run over the edge
            copy[margin : margin + features] = np.arange(features)
            copies = [np.roll(copy, -r * num * unit) for r in range(2 * slots // size)]
            layout = np.concatenate(copies).reshape(2, slots)
            found = _diagonals(matrix, layout, row, unit, num)
            if found is not None:
                best = layout, found[0] - 1j * found[1]
                break
    return best


def fewest_diagonals(matrix: Matrix, layout: Places, spread: Spread) -> Array | None:
    """The diagonals [D, S] of a product from one layout to another; None if there is no room."""
    span, num = spread.span, 1
    while num <= span:
        found = _diagonals(matrix, layout[None, :span], spread.row[:span], 1, num)
        if found is not None:
            return np.tile(found[0], (1, len(layout) // span))
        num *= 2
    return None


def _diagonals(
    matrix: Matrix, layout_KS: Places, row_S: Places, unit: int, num: int
) -> Array | None:
    """Place each weight on the first diagonal and slot where its output meets its input.

    At slot s, which contributes to output `row_S[s]`, diagonal d meets what each of the K layouts
    has at slot s + unit d.

    Returns:
        [K, D, S], or None if `num` diagonals do not reach every weight.
    """
    features = matrix.weight.shape[1]
    met_KDS = np.stack([np.roll(layout_KS, -unit * d, axis=1) for d in range(num)], axis=1)
    usable = (met_KDS >= 0) & (row_S >= 0)
    usable &= matrix.support[np.maximum(row_S, 0), np.maximum(met_KDS, 0)]
    flat = np.flatnonzero(usable)
    pairs, first = np.unique((row_S * features + met_KDS).ravel()[flat], return_index=True)
    if len(pairs) < np.count_nonzero(matrix.support):
        return None
    diagonals = np.zeros(met_KDS.size)
    diagonals[flat[first]] = matrix.weight.ravel()[pairs]
    return diagonals.reshape(met_KDS.shape)


def power_of_two(least: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << max(0, least - 1).bit_length()
