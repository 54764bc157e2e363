"""A device's private step on convolutions, norms and pools, in numpy: the same bits as layers.c.

float32, each operation rounded to nearest, none fused, all sums from 0 and in the order of their
indices, the last fastest. A layer's weights are [outputs, inputs of a group x kernel], its biases
follow.

1. Forward: a convolution's sum over channel, row and column of the kernel, then the bias; beyond
   the edge nothing is added. GroupNorm: mean, mean square of what differs from it, 1 / root(that +
   eps), then gain and bias. Pools: the first of the largest; the sum over its size.
2. Backward: softmax as in floats.py; what a layer reads gets the sum over outputs in their order,
   from the last layer to the first; GroupNorm's is inverse * ((e - mean e) - unit * mean(e unit)),
   e = delta * gain, unit = (x - mean) * inverse.
3. Clip: each weight's gradient g is a sum over positions. Its record's norm is the root of the sum
   of g g over weights; q = trunc(g * (c S / clip)), c = min(1, clip / norm), for each weight. A
   record is left out unless, in integers, the sum of q q is at most S^2.
4. Sum, noise and update as in floats.py.
"""

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.net import Dense
from clients.firmware.numbers.floats import (
    Device,
    Floats,
    Gradients,
    Whole,
    in_order,
    softmax_gradient,
)
from clients.firmware.plan import ADD, CONV, MEAN, MOST, NORM, Layer, Plan

f4 = np.float32
MOST_FACTOR = f4(1 << 23)


class LayersDevice(Device):
    """A simulated board of any plan; see `clients.firmware.numbers.floats.Device`."""

    def gradients(self, batch: NDArray[np.int64]) -> Gradients:
        """Clipped gradients of some records."""
        x = self._inputs[batch].astype(np.int64)
        return clipped(self.contract, self.layers, x, self._labels[batch].astype(np.int64))

    def predict(self, inputs: NDArray[np.int16]) -> NDArray[np.int64]:
        """Classes int64 [B]."""
        values = forward(self.contract, self.layers, inputs.astype(np.int64))
        answers: NDArray[np.int64] = values[-1].reshape(len(inputs), -1).argmax(1)
        return answers

    def _summed(self, gradients: Gradients) -> Whole:
        taken: Whole = gradients.factors[0][gradients.taken].sum(0)
        return taken

    def _unflattened(self, flat: Floats) -> tuple[Dense, ...]:
        found, at = [], 0
        for weights, biases in self.layers:
            end = at + weights.size
            found.append(Dense(flat[at:end].reshape(weights.shape), flat[end : end + len(biases)]))
            at = end + len(biases)
        return tuple(found)


def plan_in(contract: Contract) -> Plan:
    """The contract's layers."""
    assert contract.plan is not None
    return contract.plan


def _weighted(contract: Contract, layers: tuple[Dense, ...]) -> dict[int, Dense]:
    places = [place for place, layer in enumerate(plan_in(contract)) if layer.row]
    return dict(zip(places, layers, strict=True))


def forward(contract: Contract, layers: tuple[Dense, ...], x: Whole) -> list[Floats]:
    """The record and what each layer gives: float32 [B, C, H, W]."""
    plan, held = plan_in(contract), _weighted(contract, layers)
    values = [x.astype(f4) * f4(1 / contract.scale)]
    for place, layer in enumerate(plan):
        read = values[layer.source + 1].reshape(len(x), *layer.inputs)
        if layer.kind == CONV:
            out = _convolve(layer, held[place], read)
        elif layer.kind == NORM:
            units, _ = _units(layer, read)
            gain, bias = (part.reshape(1, -1, 1, 1) for part in held[place])
            out = units * gain + bias
        elif layer.kind == ADD:
            out = read + values[layer.other + 1].reshape(read.shape)
        else:
            out = _pool(layer, read)
        values.append(np.where(out > 0, out, f4(0)) if layer.rectified else out)
    return values


def _padded(layer: Layer, x: Floats) -> Floats:
    (a, b) = layer.padding
    return np.pad(x, ((0, 0), (0, 0), (a, a), (b, b)))


def _seen(layer: Layer, padded: Floats, i: int, j: int) -> Floats:
    """What the kernel's element (i, j) reads at all positions: a view [..., P, Q]."""
    (a, b), (_, p, q) = layer.stride, layer.outputs
    return padded[..., i : i + a * (p - 1) + 1 : a, j : j + b * (q - 1) + 1 : b]


def _kernels(layer: Layer, weights: Floats) -> Floats:
    return weights.reshape(layer.outputs[0], layer.inputs[0] // layer.groups, *layer.kernel)


def _groups(layer: Layer) -> list[tuple[slice, slice]]:
    """Outputs and inputs of each group."""
    o, c = layer.outputs[0] // layer.groups, layer.inputs[0] // layer.groups
    return [(slice(g * o, (g + 1) * o), slice(g * c, (g + 1) * c)) for g in range(layer.groups)]


def _convolve(layer: Layer, held: Dense, x: Floats) -> Floats:
    kernels, padded = _kernels(layer, held.weights), _padded(layer, x)
    s = np.zeros((len(x), *layer.outputs), f4)
    for o, inputs in _groups(layer):
        for c, i, j in np.ndindex(*kernels.shape[1:]):
            seen = _seen(layer, padded[:, inputs.start + c], i, j)
            s[:, o] = s[:, o] + kernels[o, c, i, j][:, None, None] * seen[:, None]
    return s + held.biases[:, None, None]


def _convolve_back(layer: Layer, held: Dense, d: Floats, to: Floats) -> Floats:
    """Outputs in their order: at one place, the kernel's elements from the last to the first."""
    kernels, padded = _kernels(layer, held.weights), _padded(layer, to)
    for outputs, inputs in _groups(layer):
        for o in range(outputs.start, outputs.stop):
            for i in range(layer.kernel[0] - 1, -1, -1):
                for j in range(layer.kernel[1] - 1, -1, -1):
                    seen = _seen(layer, padded[:, inputs], i, j)
                    seen[...] = seen + kernels[o, :, i, j][:, None, None] * d[:, o, None]
    (a, b), (_, h, w) = layer.padding, layer.inputs
    return padded[:, :, a : a + h, b : b + w]


def _convolution_gradient(layer: Layer, x: Floats, d: Floats) -> Floats:
    """[B, weights and biases]"""
    padded, (out, p, q) = _padded(layer, x), layer.outputs
    each = layer.inputs[0] // layer.groups
    s = np.zeros((len(x), out, each, *layer.kernel), f4)
    for y, z in np.ndindex(p, q):
        top, left = y * layer.stride[0], z * layer.stride[1]
        patch = padded[:, :, top : top + layer.kernel[0], left : left + layer.kernel[1]]
        for o, c in _groups(layer):
            s[:, o] = s[:, o] + d[:, o, y, z][:, :, None, None, None] * patch[:, None, c]
    return np.concatenate([s.reshape(len(x), -1), _by_channel(d)], 1)


def _by_channel(terms: Floats) -> Floats:
    """Sums over positions, in order: [B, C, H, W] -> [B, C]."""
    b, c = terms.shape[:2]
    return in_order(terms.reshape(b * c, -1)).reshape(b, c)


def _units(layer: Layer, x: Floats) -> tuple[Floats, Floats]:
    """(x - mean) * inverse of each group [B, C, H, W], and inverse [B groups, 1]."""
    rows = x.reshape(len(x) * layer.groups, -1)
    num = f4(rows.shape[1])
    rows = rows - (in_order(rows) / num)[:, None]
    inverse = f4(1) / np.sqrt(in_order(rows * rows) / num + f4(layer.eps))
    return (rows * inverse[:, None]).reshape(x.shape), inverse[:, None]


def _norm_back(layer: Layer, held: Dense, x: Floats, d: Floats) -> Floats:
    units, inverse = _units(layer, x)
    e = (d * held.weights.reshape(1, -1, 1, 1)).reshape(len(inverse), -1)
    rows, num = units.reshape(e.shape), f4(e.shape[1])
    s, t = in_order(e) / num, in_order(e * rows) / num
    return (inverse * ((e - s[:, None]) - rows * t[:, None])).reshape(x.shape)


def _pool(layer: Layer, x: Floats) -> Floats:
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


def _pool_back(layer: Layer, x: Floats, d: Floats, to: Floats) -> Floats:
    """As `_convolve_back`: of windows that overlap, the last element of a window comes first."""
    to, places = to.copy(), list(enumerate(np.ndindex(*layer.kernel)))
    share = d / f4(len(places))
    _, which = _largest(layer, x)
    for place, (i, j) in places[::-1]:
        seen = _seen(layer, to, i, j)
        more = share if layer.kind == MEAN else d
        seen[...] = np.where((which == place) | (layer.kind == MEAN), seen + more, seen)
    return to


def clipped(contract: Contract, layers: tuple[Dense, ...], x: Whole, labels: Whole) -> Gradients:
    """Whole gradients of each record: factors int64 [B, weights], of one part.

    Args:
        x: int64 [B, inputs]. `labels`: int64 [B].
    """
    plan, held = plan_in(contract), _weighted(contract, layers)
    values = forward(contract, layers, x)
    d, taken = softmax_gradient(values[-1].reshape(len(x), -1), labels)
    deltas = [np.zeros_like(v) for v in values]
    deltas[-1] = d.reshape(values[-1].shape)
    parts: list[Floats] = []
    for place in range(len(plan) - 1, -1, -1):
        layer, read = plan[place], plan[place].source + 1
        d = deltas[place + 1]
        if layer.rectified:
            d = np.where(values[place + 1] > 0, d, f4(0))
        seen = values[read].reshape(len(x), *layer.inputs)
        to = deltas[read].reshape(seen.shape)
        if layer.kind == CONV:
            parts.insert(0, _convolution_gradient(layer, seen, d))
            to = _convolve_back(layer, held[place], d, to) if read else to
        elif layer.kind == NORM:
            units, _ = _units(layer, seen)
            parts.insert(0, np.concatenate([_by_channel(d * units), _by_channel(d)], 1))
            to = to + _norm_back(layer, held[place], seen, d) if read else to
        elif layer.kind == ADD:
            to = to + d
            other = deltas[layer.other + 1]
            deltas[layer.other + 1] = other + d.reshape(other.shape)
            to = to if layer.other != layer.source else deltas[read].reshape(seen.shape) + d
        else:
            to = _pool_back(layer, seen, d, to) if read else to
        deltas[read] = to.reshape(values[read].shape)
    g = np.concatenate(parts, 1)
    squared = in_order(g * g)
    big = squared > contract.clip_squared
    c = np.where(big, f4(contract.clip) / np.sqrt(np.where(big, squared, f4(1))), f4(1))
    scaled = g * (c * contract.factor)[:, None]
    within = np.abs(scaled) < MOST_FACTOR
    q = np.where(within, scaled, f4(0)).astype(np.int64)
    norms = (q * q).sum(1)
    taken &= within.all(1) & (norms <= contract.sensitivity**2)
    return Gradients((q,), (), norms.tolist(), taken)
