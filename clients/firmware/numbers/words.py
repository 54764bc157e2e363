"""A device's private step on words of few bits, in numpy: the same bits as words.c.

Weights are whole numbers M in units of `contract.rate`, W = float32(M) * rate. The arithmetic is
that of privet's `fixed`, `ternary` and `binary`; float operations are rounded to nearest, none
fused, and sums are of integers or taken in order.

1. Words of weights, once a step, of a row or of a layer. fixed: step = max|W| / n, words of
   W * (1 / step), to nearest even, n = 2^(k-1) - 1; ternary: sign(M) where 10 num |M| > 7 sum|M|,
   in integers, and scale = the mean |W| of those; binary: sign(M), 0 counting as 1, and
   scale = the mean |W|.
2. Words of inputs, record by record: bound = min(largest, reach * root mean square), step = bound
   / most, where most = 2^k - 1 if none is negative, else 2^(k-1) - 1. A record's squares are summed
   in integers, hidden units' in order.
3. Forward: float32(sum of words' products) * (step * scale) + bias; hidden units max(0, s).
4. Backward: softmax as in floats.py; a layer's gradient d is rounded at random to words of
   gradient_bits, by the step's dice, the layer, the record's number and the unit; below, the sum
   over units of (d * scale) * word, in order, where the unit was above 0 and within its bound.
5. Clip: of weights q = trunc(d * (c S / clip * step)), of biases trunc(d * (c S / clip)),
   c = min(1, clip / norm). A record is left out unless, in integers, the sum over layers of
   |q|^2 |words|^2 + |q of biases|^2 <= S^2.
6. Sum, noise and update: M less the outer products of q and words, less floor(sigma Z), modulo
   2^32; weights are kept within -1 and 1, biases within 2^30 units.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.net import Dense, Records, Words
from clients.firmware.numbers.floats import Floats, Gradients, Whole, in_order, softmax_gradient
from clients.firmware.numbers.noise import Words32, gaussian, poisson, round_word

f4 = np.float32
TINY, NEAREST = f4(1e-30), f4(12582912)
MOST_FACTOR, MOST_BIAS = f4(1 << 23), 1 << 30
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Projected(NamedTuple):
    """Of a layer: words int64 [outputs, inputs], scales float32 [outputs], biases the same; of a
    norm the scales are what multiplies."""

    words: Whole
    scales: Floats
    biases: Floats


class Rounded(NamedTuple):
    """A layer's inputs: words int64 [B, inputs]; float32 [B]: their steps and bounds."""

    words: Whole
    steps: Floats
    bounds: Floats


class WordsDevice:
    """A simulated board of words; see `clients.firmware.numbers.floats.Device`.

    Attributes:
        whole: M of all weights, int64.
    """

    def __init__(
        self,
        contract: Contract,
        layers: tuple[Dense, ...],
        key: Words32,
        records: Records,
    ) -> None:
        self.contract = contract
        self.whole = begin(contract, layers)
        self._key = key
        self._inputs, self._labels = records
        self.step_number = 0
        self._project()

    @property
    def raw(self) -> NDArray[np.uint32]:
        """All weights, bit by bit."""
        return self.whole.astype(np.int32).view(np.uint32)

    def step(self) -> NDArray[np.int64]:
        """One private step; returns its batch."""
        if self.step_number >= self.contract.most_steps:
            raise ValueError("the owner's limit is reached")
        self.step_number += 1
        contract = self.contract
        batch = poisson(self._key, self.step_number, len(self._labels), contract.sample_rate)
        total = gaussian(self._key, self.step_number, contract.num_weights, contract.noise_bits)
        if len(batch):
            total = total + self._summed(self.gradients(batch))
        moved = (self.whole - total).astype(np.int32).astype(np.int64)
        self.whole = np.clip(moved, *limits(contract))
        self._project()
        return batch

    def _summed(self, gradients: Gradients) -> Whole:
        return summed(gradients)

    def gradients(self, batch: NDArray[np.int64]) -> Gradients:
        """Clipped gradients of some records."""
        x = self._inputs[batch].astype(np.int64)
        dice = round_word(self._key, self.step_number)
        return clipped(
            self.contract, self.layers, x, self._labels[batch].astype(np.int64), dice, batch
        )

    def predict(self, inputs: NDArray[np.int16]) -> NDArray[np.int64]:
        """Classes int64 [B]."""
        outputs, _ = forward(self.contract, self.layers, inputs.astype(np.int64))
        answers: NDArray[np.int64] = outputs[-1].argmax(1)
        return answers

    def _project(self) -> None:
        self.layers = projected(self.contract, self.whole)


def numbers_of(contract: Contract) -> Words:
    """The contract's words."""
    assert contract.numbers is not None
    return contract.numbers


def begin(contract: Contract, layers: tuple[Dense, ...]) -> Whole:
    """M of real weights."""
    return whole_of(contract, np.concatenate([part.ravel() for layer in layers for part in layer]))


def whole_of(contract: Contract, flat: Floats) -> Whole:
    """M of all real weights, one after another."""
    near = np.rint(flat.astype(np.float64) / float(contract.rate)).astype(np.int64)
    return np.clip(near, *limits(contract))


def limits(contract: Contract) -> tuple[Whole, Whole]:
    """Of M: weights that have words within -1 and 1."""
    one = contract.one_weight
    most = [
        np.full(num, limit, np.int64)
        for rows in contract.rows
        for num, limit in (
            (rows.row * rows.outputs, one if rows.has_words else MOST_BIAS),
            (rows.outputs, MOST_BIAS),
        )
    ]
    return -np.concatenate(most), np.concatenate(most)


def projected(c: Contract, whole: Whole) -> tuple[Projected, ...]:
    """Words, scales and biases of all M."""
    at, found = 0, []
    for one in c.rows:
        end = at + one.row * one.outputs
        rows = whole[at:end].reshape(one.outputs, one.row)
        words, scales = rows, rows[:, 0].astype(f4) * c.rate
        if one.has_words:
            words, scales = project(numbers_of(c), rows, c.rate)
        biases = whole[end : end + one.outputs].astype(f4) * c.rate
        found.append(Projected(words, scales, biases))
        at = end + one.outputs
    return tuple(found)


def as_float(x: Whole) -> Floats:
    """Of whole numbers below 2^52, as words.c makes them."""
    found: Floats = (x >> 20).astype(f4) * f4(1 << 20) + (x & 0xFFFFF).astype(f4)
    return found


def nearest(x: Floats, most: int | Whole) -> Whole:
    """The nearest whole number, of two the even one."""
    words: Whole = np.clip(((x + NEAREST) - NEAREST).astype(np.int64), -most, most)
    return words


def project(numbers: Words, rows: Whole, rate: np.float32) -> tuple[Whole, Floats]:
    """Words of M int64 [outputs, inputs], and scales float32 [outputs]."""
    grouped = rows if numbers.channels else rows.reshape(1, -1)
    size, num = np.abs(grouped), grouped.shape[1]
    if numbers.projection == "fixed":
        most = (1 << numbers.bits - 1) - 1
        step = size.max(1).astype(f4) * rate / f4(most)
        there = step > TINY
        per_step = np.where(there, f4(1) / np.where(there, step, f4(1)), f4(0))
        words = nearest(grouped.astype(f4) * rate * per_step[:, None], most)
        scale = np.where(there, step, f4(0))
    elif numbers.projection == "ternary":
        kept = 10 * num * size > 7 * size.sum(1, keepdims=True)
        words = np.sign(grouped) * kept
        scale = as_float((size * kept).sum(1)) * rate / np.maximum(kept.sum(1), 1).astype(f4)
    else:
        words = np.where(grouped < 0, -1, 1)
        scale = as_float(size.sum(1)) * rate / f4(num)
    scales: Floats = np.broadcast_to(scale.astype(f4), len(rows))
    return words.reshape(rows.shape), scales


def round_record(contract: Contract, x: Whole) -> Rounded:
    """Whole inputs [B, inputs] to words."""
    inverse = f4(1 / contract.scale)
    largest = np.abs(x).max(1).astype(f4) * inverse
    mean = as_float((x * x).sum(1)) / f4(x.shape[1]) * (inverse * inverse)
    most = numbers_of(contract).most_inputs((x < 0).any(1))
    per_step, step, bound = _set_step(contract, largest, mean, most)
    words = nearest(x.astype(f4) * (per_step * inverse)[:, None], most[:, None])
    return Rounded(words, step, bound)


def round_numbers(contract: Contract, x: Floats) -> Rounded:
    """What a layer reads, float32 [B, inputs], to words."""
    most = numbers_of(contract).most_inputs((x < 0).any(1))
    mean = in_order(x * x) / f4(x.shape[1])
    per_step, step, bound = _set_step(contract, np.abs(x).max(1), mean, most)
    return Rounded(nearest(x * per_step[:, None], most[:, None]), step, bound)


def _set_step(
    contract: Contract, largest: Floats, mean_square: Floats, most: Whole
) -> tuple[Floats, Floats, Floats]:
    bound = np.minimum(f4(numbers_of(contract).reach) * np.sqrt(mean_square), largest)
    there = bound > TINY
    held, words = np.where(there, bound, f4(1)), most.astype(f4)
    return np.where(there, words / held, f4(0)), np.where(there, held / words, f4(0)), bound


def forward(
    contract: Contract, layers: tuple[Projected, ...], x: Whole
) -> tuple[list[Floats], list[Rounded]]:
    """Outputs float32 [B, outputs] of each layer, and what it reads."""
    outputs: list[Floats] = []
    read: list[Rounded] = []
    for place, (words, scales, biases) in enumerate(layers):
        read.append(round_numbers(contract, outputs[-1]) if place else round_record(contract, x))
        sums = (read[-1].words @ words.T).astype(f4)
        s = sums * (read[-1].steps[:, None] * scales) + biases
        last = place + 1 == len(layers)
        outputs.append(s if last else np.where(s > 0, s, f4(0)))
    return outputs, read


def scramble(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function."""
    state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return state ^ state >> np.uint64(31)


def round_gradient(d: Floats, bits: int, dice: int, layer: int, numbers: Whole) -> Floats:
    """To words of so many bits, at random: float32 [B, units]."""
    if bits == 32:
        return d
    most = f4((1 << bits - 1) - 1)
    places = np.arange(d.shape[1], dtype=np.uint64)
    with np.errstate(over="ignore"):
        word = scramble(np.array([dice], np.uint64) + np.uint64(layer + 1) * GOLDEN)
        seeds = scramble(word + numbers.astype(np.uint64) * GOLDEN)
        draws = (scramble(seeds[:, None] + places * GOLDEN) >> np.uint64(40)).astype(f4)
    largest = np.abs(d).max(1, keepdims=True)
    there = largest > TINY
    held = np.where(there, largest, f4(1))
    words = np.clip(np.floor(d * (most / held) + draws * f4(2.0**-24)), -most, most)
    return np.where(there, words * (held / most), d)


def clipped(
    contract: Contract,
    layers: tuple[Projected, ...],
    x: Whole,
    labels: Whole,
    dice: int,
    numbers: Whole,
) -> Gradients:
    """Whole factors of each record's gradient.

    Args:
        x: int64 [B, inputs]. `labels`, `numbers` of the records: int64 [B].
        dice: 64 bits of the step.

    Returns:
        Of each layer factors [B, 2, outputs]: of its weights and of its biases.
    """
    outputs, read = forward(contract, layers, x)
    d, taken = softmax_gradient(outputs[-1], labels)
    bits = numbers_of(contract).gradient_bits
    deltas: list[Floats] = []
    for place in range(len(layers) - 1, -1, -1):
        d = round_gradient(d, bits, dice, place, numbers)
        deltas.insert(0, d)
        if place:
            words, scales, _ = layers[place]
            s, h = np.zeros((len(x), words.shape[1]), f4), outputs[place - 1]
            for i in range(len(words)):
                s = s + (d[:, i] * scales[i])[:, None] * words[i].astype(f4)
            d = np.where((h > 0) & (h <= read[place].bounds[:, None]), s, f4(0))
    squared = np.zeros(len(x), f4)
    squares = [(one.words * one.words).sum(1) for one in read]
    for d, one, total in zip(deltas, read, squares, strict=True):
        squared = squared + in_order(np.square(d)) * (
            total.astype(f4) * np.square(one.steps) + f4(1)
        )
    big = squared > contract.clip_squared
    c = np.where(big, f4(contract.clip) / np.sqrt(np.where(big, squared, f4(1))), f4(1))
    of_bias = c * contract.factor
    factors, norms = [], [0] * len(x)
    for d, one, total in zip(deltas, read, squares, strict=True):
        scaled = np.stack([d * (of_bias * one.steps)[:, None], d * of_bias[:, None]], 1)
        taken &= (np.abs(scaled) < MOST_FACTOR).all((1, 2))
        q = np.where(taken[:, None, None], scaled, f4(0)).astype(np.int64)
        factors.append(q)
        lengths = (q * q).sum(2).tolist()
        norms = [n + a * s + b for n, (a, b), s in zip(norms, lengths, total.tolist(), strict=True)]
    taken &= np.array([n <= contract.sensitivity**2 for n in norms], bool)
    return Gradients(tuple(factors), tuple(one.words for one in read), norms, taken)


def summed(gradients: Gradients) -> Whole:
    """The sum of the gradients that are taken, int64 [weights]."""
    parts = []
    for q, x in zip(gradients.factors, gradients.inputs, strict=True):
        kept = q * gradients.taken[:, None, None]
        parts += [(kept[:, 0].T @ x).ravel(), kept[:, 1].sum(0)]
    return np.concatenate(parts)
