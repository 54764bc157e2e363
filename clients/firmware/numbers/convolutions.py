"""Convolutions, norms and pools in numpy, each sum in the order of `layers`; of float32 numbers,
and of whole ones, whose sums have no order.

Shapes: records B, channels C, height and width H and W of what is read; O, P, Q of what is given.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.firmware.numbers.floats import Floats, Whole, in_order
from clients.firmware.plan import MEAN, MOST, Layer

f4 = np.float32


def _padded(layer: Layer, x: Floats) -> Floats:
    (a, b) = layer.padding
    return np.pad(x, ((0, 0), (0, 0), (a, a), (b, b)))


def _seen(layer: Layer, padded: Floats, i: int, j: int) -> Floats:
    """What the kernel's element (i, j) reads at all positions: a view [..., P, Q]."""
    (a, b), (_, p, q) = layer.stride, layer.outputs
    return padded[..., i : i + a * (p - 1) + 1 : a, j : j + b * (q - 1) + 1 : b]


def _kernels(layer: Layer, weights: Floats) -> Floats:
    return weights.reshape(layer.outputs[0], layer.inputs[0] // layer.groups, *layer.kernel)


def groups(layer: Layer) -> list[tuple[slice, slice]]:
    """Outputs and inputs of each group."""
    o, c = layer.outputs[0] // layer.groups, layer.inputs[0] // layer.groups
    return [(slice(g * o, (g + 1) * o), slice(g * c, (g + 1) * c)) for g in range(layer.groups)]


def convolve(layer: Layer, weights: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Sums of products, without biases: [B, C, H, W] -> [B, O, P, Q], in the numbers of x."""
    kernels, padded = _kernels(layer, weights), _padded(layer, x)
    s = np.zeros((len(x), *layer.outputs), x.dtype)
    for o, inputs in groups(layer):
        for c, i, j in np.ndindex(*kernels.shape[1:]):
            seen = _seen(layer, padded[:, inputs.start + c], i, j)
            s[:, o] = s[:, o] + kernels[o, c, i, j][:, None, None] * seen[:, None]
    return s


def convolve_back(layer: Layer, weights: Floats, d: Floats, to: Floats) -> Floats:
    """Outputs in their order: at one place, the kernel's elements from the last to the first."""
    for outputs, inputs in groups(layer):
        for o in range(outputs.start, outputs.stop):
            to[:, inputs] = one_back(layer, weights, d, o, to[:, inputs])
    return to


def one_back(layer: Layer, weights: Floats, d: Floats, o: int, to: Floats) -> Floats:
    """What output `o` adds to the channels that it reads."""
    kernel, padded = _kernels(layer, weights)[o], _padded(layer, to)
    for i in range(layer.kernel[0] - 1, -1, -1):
        for j in range(layer.kernel[1] - 1, -1, -1):
            seen = _seen(layer, padded, i, j)
            seen[...] = seen + kernel[:, i, j][:, None, None] * d[:, o, None]
    (a, b), (_, h, w) = layer.padding, layer.inputs
    return padded[:, :, a : a + h, b : b + w]


def convolution_gradient(layer: Layer, x: Floats, d: Floats) -> Floats:
    """Of each weight, a sum over positions: [B, weights]."""
    padded, (out, p, q) = _padded(layer, x), layer.outputs
    each = layer.inputs[0] // layer.groups
    s = np.zeros((len(x), out, each, *layer.kernel), f4)
    for y, z in np.ndindex(p, q):
        top, left = y * layer.stride[0], z * layer.stride[1]
        patch = padded[:, :, top : top + layer.kernel[0], left : left + layer.kernel[1]]
        for o, c in groups(layer):
            s[:, o] = s[:, o] + d[:, o, y, z][:, :, None, None, None] * patch[:, None, c]
    return s.reshape(len(x), -1)


def by_channel(terms: Floats) -> Floats:
    """Sums over positions, in order: [B, C, H, W] -> [B, C]."""
    b, c = terms.shape[:2]
    return in_order(terms.reshape(b * c, -1)).reshape(b, c)


def units(layer: Layer, x: Floats) -> tuple[Floats, Floats]:
    """(x - mean) * inverse of each group [B, C, H, W], and inverse [B groups, 1]."""
    rows = x.reshape(len(x) * layer.groups, -1)
    num = f4(rows.shape[1])
    rows = rows - (in_order(rows) / num)[:, None]
    inverse = f4(1) / np.sqrt(in_order(rows * rows) / num + f4(layer.eps))
    return (rows * inverse[:, None]).reshape(x.shape), inverse[:, None]


def norm_back(layer: Layer, gain: Floats, x: Floats, d: Floats) -> Floats:
    """What a norm of `gain` [C] passes back."""
    of, inverse = units(layer, x)
    e = (d * gain.reshape(1, -1, 1, 1)).reshape(len(inverse), -1)
    rows, num = of.reshape(e.shape), f4(e.shape[1])
    s, t = in_order(e) / num, in_order(e * rows) / num
    return (inverse * ((e - s[:, None]) - rows * t[:, None])).reshape(x.shape)


def pool(layer: Layer, x: Floats) -> Floats:
    """The largest or the mean of each window."""
    if layer.kind == MOST:
        return _largest(layer, x)[0]
    s = np.zeros((len(x), *layer.outputs), f4)
    for i, j in np.ndindex(*layer.kernel):
        s = s + _seen(layer, x, i, j)
    return s / f4(layer.kernel[0] * layer.kernel[1])


def _largest(layer: Layer, x: Floats) -> tuple[Floats, Whole]:
    """The largest in each window, and which of the window it is: the first of them."""
    best = _seen(layer, x, 0, 0).copy()
    which = np.zeros(best.shape, np.int64)
    for place, (i, j) in enumerate(np.ndindex(*layer.kernel)):
        seen = _seen(layer, x, i, j)
        which = np.where(seen > best, place, which)
        best = np.where(seen > best, seen, best)
    return best, which


def pool_back(layer: Layer, x: Floats, d: Floats, to: Floats) -> Floats:
    """As `_convolve_back`: of windows that overlap, the last element of a window comes first."""
    to, places = to.copy(), list(enumerate(np.ndindex(*layer.kernel)))
    share = d / f4(len(places))
    _, which = _largest(layer, x)
    for place, (i, j) in places[::-1]:
        seen = _seen(layer, to, i, j)
        more = share if layer.kind == MEAN else d
        seen[...] = np.where((which == place) | (layer.kind == MEAN), seen + more, seen)
    return to
