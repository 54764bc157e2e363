"""Which slot holds what: the layouts of inputs, and the diagonals of matrices.

One rule places every weight: the slots that an output owns must between them meet each of its
inputs once. So a layout may repeat, shift or pad its inputs at will, and a strided convolution,
whose patches the client packs (im2col), is the same product, rotated in steps of as many slots as
there are windows.

Shapes: S slots, F features of a layout, R outputs of a layer, D diagonals.
"""

from dataclasses import dataclass

import numpy as np

from privacy.encrypted.net import Array, Dense, Net, Places, patches

MOST_PLACES = 1 << 23  # diagonals x slots: 2 GiB of encoded weights under eight primes


@dataclass(frozen=True, eq=False)
class Matrix:
    """A layer over the features of a layout, by the places where a weight may stand.

    Attributes:
        keys: int [K], ascending: output times `features`, plus the feature that it reads.
        weight: [K], the weight there.
        bias: [R]
    """

    keys: Places
    weight: Array
    bias: Array
    features: int


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
        found = [_dense(first, features, len(features))]
    else:
        channels, k, _ = first.weight.shape
        pixels = patches(first, net.pooled)
        windows = pixels.shape[1]
        unit = power_of_two(windows)
        padded = np.full((k * k, unit), -1)
        padded[:, :windows] = pixels
        features = padded.ravel()
        bias = np.zeros((channels, unit))
        bias[:, :windows] = first.bias[:, None]
        channel, window, element = np.indices((channels, windows, k * k)).reshape(3, -1)
        reads = element * unit + window
        weight = first.weight.reshape(channels, -1)[channel, element]
        keys = (channel * unit + window) * len(features) + reads
        order = np.argsort(keys)
        found = [Matrix(keys[order], weight[order], bias.ravel(), len(features))]
        outputs = (np.arange(channels)[:, None] * unit + np.arange(windows)).ravel()
    for layer in net.layers[1:]:
        assert isinstance(layer, Dense)
        found.append(_dense(layer, outputs, len(found[-1].bias)))
        outputs = np.arange(len(layer.bias))
    return unit, features, found


def _dense(layer: Dense, places: Places, features: int) -> Matrix:
    """A dense layer whose inputs stand at `places`, ascending, of so many features."""
    anywhere = np.ones(layer.weight.shape, bool)
    row, column = np.nonzero(anywhere if layer.support is None else layer.support)
    keys = row * features + places[column]
    return Matrix(keys, layer.weight[row, column], layer.bias, features)


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
    outputs, features = len(matrix.bias), matrix.features
    period = power_of_two(outputs)
    row = whole(outputs, slots, slots).row
    best: tuple[Places, Array] | None = None
    for size in (power_of_two(features), 2 * power_of_two(features)):
        if size > 2 * slots:
            continue
        fewest = max(1, period * size // (2 * slots) // unit)
        for num in (fewest, 2 * fewest, 4 * fewest, period):
            if num * slots > MOST_PLACES or (best is not None and num >= len(best[1])):
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
    while num <= span and num * span <= MOST_PLACES:
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
    met_KDS = np.stack([np.roll(layout_KS, -unit * d, axis=1) for d in range(num)], axis=1)
    wanted = np.where((met_KDS >= 0) & (row_S >= 0), row_S * matrix.features + met_KDS, -1).ravel()
    place = np.minimum(np.searchsorted(matrix.keys, wanted), len(matrix.keys) - 1)
    met = np.flatnonzero(matrix.keys[place] == wanted)
    found, first = np.unique(place[met], return_index=True)
    if len(found) < len(matrix.keys):
        return None
    diagonals = np.zeros(met_KDS.size)
    diagonals[met[first]] = matrix.weight
    return diagonals.reshape(met_KDS.shape)


def power_of_two(least: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << max(0, least - 1).bit_length()
