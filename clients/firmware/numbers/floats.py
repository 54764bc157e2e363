"""A device's private step in numpy: the same bits as step.c, and their definition.

All sums of float32 numbers are taken in the order written here, each operation rounded to nearest,
none fused. A record's inputs are whole numbers, of which `scale` stands for 1.

1. Forward: x / scale; a unit's sum is that of four lanes, k = 0, 1, 2, 3 modulo 4, each in order,
   added as (s0 + s1) + (s2 + s3), then the bias; hidden units max(0, s).
2. Backward: softmax by `exponential` of z - max z, its sum in order, less 1 at the label; below,
   sum over the units above, in order, where the unit was above 0.
3. Clip: a gradient is an outer product of d (units) and x (inputs, and 1 for the bias), so the
   squared norm of a record's is the sum over layers of |d|^2 |x, 1|^2. What gradients read of a
   hidden unit is its value in 64ths, cut off at 4095. Each d times S / clip / one, and times
   min(1, clip / norm), is truncated to a whole number q. A record is left out unless, in integers,
   the sum over layers of |q|^2 |x, one|^2 <= S^2: so S is the sensitivity, whatever was rounded.
4. Sum: outer products of q and x, modulo 2^32: order does not matter.
5. Noise: floor(sigma Z) of the step's key stream, one draw a weight, added modulo 2^32.
6. Update: w - rate * float32(noisy sum).
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import ACTIVATION_SCALE, MOST_ACTIVATION, Contract
from clients.firmware.net import Dense, Records
from clients.firmware.numbers.noise import Words32, gaussian, poisson

f4 = np.float32
Floats = NDArray[np.float32]
Whole = NDArray[np.int64]

FINITE, MOST_FACTOR = f4(1e30), f4(1 << 22)
SERIES = (1.3398874e-3, 9.6184373e-3, 5.5503324e-2, 2.4022648e-1, 6.9314720e-1, 1.0)


class Gradients(NamedTuple):
    """Of a batch, record by record.

    Attributes:
        factors: q of each layer, int64 [B, outputs].
        inputs: x of each layer, int64 [B, inputs].
        norms: of each record's gradient, squared, in grid units: below S^2 where `taken`.
        taken: bool [B].
    """

    factors: tuple[Whole, ...]
    inputs: tuple[Whole, ...]
    norms: list[int]
    taken: NDArray[np.bool_]


class Device:
    """A simulated board.

    Args:
        key: uint32 [8], of its random generator.
        records: inputs int16 [N, inputs], labels uint8 [N].
    """

    def __init__(
        self,
        contract: Contract,
        layers: tuple[Dense, ...],
        key: Words32,
        records: Records,
    ) -> None:
        self.contract = contract
        self.layers = layers
        self._key = key
        self._inputs, self._labels = records
        self.step_number = 0

    @property
    def raw(self) -> NDArray[np.uint32]:
        """All weights, bit by bit."""
        return self.flat.view(np.uint32)

    @property
    def flat(self) -> Floats:
        """All weights as they lie on the device."""
        return np.concatenate([part.ravel() for layer in self.layers for part in layer])

    def step(self) -> NDArray[np.int64]:
        """One private step; returns its batch."""
        if self.step_number >= self.contract.most_steps:
            raise ValueError("the owner's limit is reached")
        self.step_number += 1
        contract = self.contract
        batch = poisson(self._key, self.step_number, len(self._labels), contract.sample_rate)
        sums = np.zeros(contract.num_weights, np.int64)
        if len(batch):
            sums = self._summed(self.gradients(batch))
        noise = gaussian(self._key, self.step_number, contract.num_weights, contract.noise_bits)
        moved = (sums + noise).astype(np.int32).astype(f4)
        flat = self.flat - contract.rate * moved
        self.layers = self._unflattened(flat)
        return batch

    def _summed(self, gradients: "Gradients") -> Whole:
        return summed(self.contract, gradients)

    def _unflattened(self, flat: Floats) -> tuple[Dense, ...]:
        return unflatten(self.contract, flat)

    def gradients(self, batch: NDArray[np.int64]) -> Gradients:
        """Clipped gradients of some records."""
        x = self._inputs[batch].astype(np.int64)
        return clipped(self.contract, self.layers, x, self._labels[batch].astype(np.int64))

    def predict(self, inputs: NDArray[np.int16]) -> NDArray[np.int64]:
        """Classes int64 [B]."""
        answers: NDArray[np.int64] = forward(self.contract, self.layers, inputs.astype(np.int64))[
            -1
        ].argmax(1)
        return answers


def unflatten(contract: Contract, flat: Floats) -> tuple[Dense, ...]:
    """Layers of weights that lie one after another."""
    layers, at = [], 0
    for inputs, outputs in pairwise(contract.sizes):
        end = at + inputs * outputs
        layers.append(Dense(flat[at:end].reshape(outputs, inputs), flat[end : end + outputs]))
        at = end + outputs
    return tuple(layers)


def forward(contract: Contract, layers: tuple[Dense, ...], x: Whole) -> list[Floats]:
    """Outputs of each layer, float32 [B, outputs]; the last one's are logits."""
    a = x.astype(f4) * f4(1 / contract.scale)
    found = []
    for place, (weights, biases) in enumerate(layers):
        lanes = [np.zeros((len(a), len(biases)), f4) for _ in range(4)]
        columns = np.ascontiguousarray(weights.T)
        for k in range(weights.shape[1]):
            lanes[k % 4] = lanes[k % 4] + columns[k] * a[:, k, None]
        a = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + biases
        if place + 1 < len(layers):
            a = np.where(a > 0, a, f4(0))
        found.append(a)
    return found


def exponential(d: Floats) -> Floats:
    """exp(d), d <= 0, by a polynomial of 2^f, -1 < f <= 0."""
    t = d * f4(1.44269504)
    tiny = t < f4(-126)
    t = np.where(tiny, f4(0), t)
    n = t.astype(np.int32)
    f = t - n.astype(f4)
    p = f4(1.5353362e-4) * f
    for i, c in enumerate(SERIES):
        p = p + f4(c) if not i else p * f + f4(c)
    raised: Floats = (p.view(np.int32) + n * (1 << 23)).view(f4)
    return np.where(tiny, f4(0), raised)


def softmax_gradient(z: Floats, labels: Whole) -> tuple[Floats, NDArray[np.bool_]]:
    """Of logits [B, classes], and whether all of them are numbers that can be worked with."""
    rows, taken = np.arange(len(z)), (np.abs(z) < FINITE).all(1)
    z = np.where(taken[:, None], z, f4(0))
    e = exponential(z - z.max(1, keepdims=True))
    d = e / in_order(e)[:, None]
    d[rows, labels] = d[rows, labels] - f4(1)
    return d, taken


def clipped(contract: Contract, layers: tuple[Dense, ...], x: Whole, labels: Whole) -> Gradients:
    """Whole factors of each record's gradient.

    Args:
        x: int64 [B, inputs]. `labels`: int64 [B].
    """
    outputs = forward(contract, layers, x)
    d, taken = softmax_gradient(outputs[-1], labels)
    deltas = [d]
    for (weights, biases), h in zip(layers[:0:-1], outputs[-2::-1], strict=True):
        s = np.zeros(h.shape, f4)
        for i in range(len(biases)):
            s = s + weights[i] * deltas[0][:, i, None]
        deltas.insert(0, np.where(h > 0, s, f4(0)))
    inputs = [x]
    for h in outputs[:-1]:
        q = np.minimum(h * f4(ACTIVATION_SCALE), f4(MOST_ACTIVATION))
        inputs.append(q.astype(np.int64))
    squared = np.zeros(len(x), f4)
    sums = []
    for one, a, d in zip(contract.ones, inputs, deltas, strict=True):
        sums.append(one * one + (a * a).sum(1))
        taken &= sums[-1] < 1 << 30
        inverse = f4(1 / (one * one))
        squared = squared + in_order(np.square(d)) * (sums[-1].astype(f4) * inverse)
    big = squared > contract.clip_squared
    c = np.where(big, f4(contract.clip) / np.sqrt(np.where(big, squared, f4(1))), f4(1))
    factors, norms = [], [0] * len(x)
    for factor, d, s in zip(contract.factors, deltas, sums, strict=True):
        scaled = d * (c * factor)[:, None]
        taken &= (np.abs(scaled) < MOST_FACTOR).all(1)
        q = np.where(taken[:, None], scaled, f4(0)).astype(np.int64)
        lengths = (q * q).sum(1)
        taken &= lengths < 1 << 34
        factors.append(q)
        norms = [n + a * b for n, a, b in zip(norms, lengths.tolist(), s.tolist(), strict=True)]
    most = contract.sensitivity**2
    taken &= np.array([n <= most for n in norms], bool)
    return Gradients(tuple(factors), tuple(inputs), norms, taken)


def in_order(terms: Floats) -> Floats:
    """Sums of rows [B, N], from the first on: float32 [B]."""
    total = np.zeros(len(terms), f4)
    for i in range(terms.shape[1]):
        total = total + terms[:, i]
    return total


def summed(contract: Contract, gradients: Gradients) -> Whole:
    """The sum of the gradients that are taken, int64 [weights]."""
    parts = []
    for one, q, x in zip(contract.ones, gradients.factors, gradients.inputs, strict=True):
        q = q * gradients.taken[:, None]
        parts += [(q.T @ x).ravel(), q.sum(0) * one]
    return np.concatenate(parts)


def observed_sensitivity(contract: Contract, gradients: Gradients) -> float:
    """The longest gradient that was taken, of S."""
    norms = [n for n, t in zip(gradients.norms, gradients.taken, strict=True) if t]
    return math.sqrt(max(norms, default=0)) / contract.sensitivity
