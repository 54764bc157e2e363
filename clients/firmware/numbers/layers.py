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
4. GRU: see recurrent.py.
5. Sum, noise and update as in floats.py.
"""

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.net import Dense
from clients.firmware.numbers import convolutions
from clients.firmware.numbers.convolutions import by_channel
from clients.firmware.numbers.floats import (
    Device,
    Floats,
    Gradients,
    Whole,
    in_order,
    softmax_gradient,
)
from clients.firmware.numbers.recurrent import Back, recur, recur_back
from clients.firmware.plan import ADD, CONV, GRU, NORM, Layer, Plan

f4 = np.float32
MOST_FACTOR = f4(1 << 23)


class LayersDevice(Device):
    """A simulated board of any plan; see `clients.firmware.numbers.floats.Device`."""

    def gradients(self, batch: NDArray[np.int64]) -> Gradients:
        """Clipped gradients of some records."""
        x = self._inputs[batch].astype(np.int64)
        numbers = InFloats(self.contract, self.layers)
        return clipped(self.contract, numbers, x, self._labels[batch].astype(np.int64))

    def predict(self, inputs: NDArray[np.int16]) -> NDArray[np.int64]:
        """Classes int64 [B]."""
        return classes(self.contract, InFloats(self.contract, self.layers), inputs)

    def _summed(self, gradients: Gradients) -> Whole:
        return summed(gradients)

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


class InFloats:
    """What an arithmetic does to a batch: this one is float32.

    Args:
        layers: of the plan's layers that have weights, in their order.
    """

    def __init__(self, contract: Contract, layers: tuple[Dense, ...]) -> None:
        places = [place for place, layer in enumerate(plan_in(contract)) if layer.row]
        self._held = dict(zip(places, layers, strict=True))

    def norm(self, place: int) -> Dense:
        """Gain and bias of a norm, float32 [C]."""
        gain, bias = self._held[place]
        return Dense(gain.reshape(-1), bias)

    def recur(self, place: int, layer: Layer, x: Floats) -> Floats:
        """[B, C, 1, T] -> [B, H, 1, T]"""
        return recur(layer, self._held[place], x)

    def recur_back(
        self, place: int, layer: Layer, x: Floats, states: Floats, d: Floats, to: Floats
    ) -> Back:
        """Gradients of the weights, and what it reads gets."""
        return recur_back(layer, self._held[place], x, states, d, to)

    def convolve(self, place: int, layer: Layer, x: Floats) -> Floats:
        """[B, C, H, W] -> [B, O, P, Q]"""
        held = self._held[place]
        s: Floats = convolutions.convolve(layer, held.weights, x)
        return s + held.biases[:, None, None]

    def rounded(self, place: int, d: Floats) -> Floats:
        """A convolution's gradient, as it is used: of words, rounded."""
        return d

    def gradient(self, place: int, layer: Layer, x: Floats, d: Floats) -> Floats:
        """Of a convolution's weights: [B, weights]."""
        return convolutions.convolution_gradient(layer, x, d)

    def back(self, place: int, layer: Layer, x: Floats, d: Floats, to: Floats) -> Floats:
        """What it reads, `x`, gets, added to what is there: [B, C, H, W]."""
        return convolutions.convolve_back(layer, self._held[place].weights, d, to)


def forward(contract: Contract, numbers: InFloats, x: Whole) -> list[Floats]:
    """The record and what each layer gives: float32 [B, C, H, W]."""
    values = [x.astype(f4) * f4(1 / contract.scale)]
    for place, layer in enumerate(plan_in(contract)):
        read = values[layer.source + 1].reshape(len(x), *layer.inputs)
        if layer.kind == CONV:
            out = numbers.convolve(place, layer, read)
        elif layer.kind == GRU:
            out = numbers.recur(place, layer, read)
        elif layer.kind == NORM:
            units, _ = convolutions.units(layer, read)
            gain, bias = (part.reshape(1, -1, 1, 1) for part in numbers.norm(place))
            out = units * gain + bias
        elif layer.kind == ADD:
            out = read + values[layer.other + 1].reshape(read.shape)
        else:
            out = convolutions.pool(layer, read)
        values.append(np.where(out > 0, out, f4(0)) if layer.rectified else out)
    return values


def classes(contract: Contract, numbers: InFloats, inputs: NDArray[np.int16]) -> Whole:
    """Answers int64 [B]."""
    values = forward(contract, numbers, inputs.astype(np.int64))
    answers: Whole = values[-1].reshape(len(inputs), -1).argmax(1)
    return answers


def summed(gradients: Gradients) -> Whole:
    """The sum of the gradients that are taken, int64 [weights]."""
    taken: Whole = gradients.factors[0][gradients.taken].sum(0)
    return taken


def clipped(contract: Contract, numbers: InFloats, x: Whole, labels: Whole) -> Gradients:
    """Whole gradients of each record: factors int64 [B, weights], of one part.

    Args:
        x: int64 [B, inputs]. `labels`: int64 [B].
    """
    plan, values = plan_in(contract), forward(contract, numbers, x)
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
            d = numbers.rounded(place, d)
            parts.insert(
                0, np.concatenate([numbers.gradient(place, layer, seen, d), by_channel(d)], 1)
            )
            to = numbers.back(place, layer, seen, d, to) if read else to
        elif layer.kind == GRU:
            found = numbers.recur_back(place, layer, seen, values[place + 1], d, to)
            parts.insert(0, found.gradient)
            to = found.to if read else to
        elif layer.kind == NORM:
            units, _ = convolutions.units(layer, seen)
            parts.insert(0, np.concatenate([by_channel(d * units), by_channel(d)], 1))
            gain = numbers.norm(place).weights
            to = to + convolutions.norm_back(layer, gain, seen, d) if read else to
        elif layer.kind == ADD:
            to = to + d
            other = deltas[layer.other + 1]
            deltas[layer.other + 1] = other + d.reshape(other.shape)
            to = to if layer.other != layer.source else deltas[read].reshape(seen.shape) + d
        else:
            to = convolutions.pool_back(layer, seen, d, to) if read else to
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
