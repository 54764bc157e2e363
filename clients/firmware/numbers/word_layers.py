"""A device's private step on convolutions of words, norms and pools, in numpy: the same bits as
layers.c with word_kernels.h.

As in layers.py, where sums are of float32 numbers; weights, their words and their update as in
words.py. A norm's gain and bias are float32(M) * rate, and M within 2^30 units.

1. Words of what a convolution reads, record by record, over all channels: as in words.py, squares
   summed in order; a record's inputs are x / scale first.
2. Forward: float32(sum of words' products) * (step * scale) + bias.
3. Backward: a convolution's gradient d is rounded at random to words of gradient_bits, by the
   step's dice, the layer, the record's number and the place. What it reads gets from each output,
   in their order, (sum of d * word) * scale, where it was within its bound.
4. Clip: a weight's gradient is (sum over positions of d * word) * step.
"""

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.net import Dense
from clients.firmware.numbers import convolutions
from clients.firmware.numbers.floats import Floats, Gradients, Whole
from clients.firmware.numbers.layers import InFloats, classes, clipped, summed
from clients.firmware.numbers.noise import round_word
from clients.firmware.numbers.words import (
    Projected,
    Rounded,
    WordsDevice,
    numbers_of,
    round_gradient,
    round_numbers,
)
from clients.firmware.plan import Layer

f4 = np.float32


class InWords(InFloats):
    """Of words; remembers what it rounded.

    Args:
        layers: their words.
        dice: 64 bits of the step. `numbers`: of the records, int64 [B].
    """

    def __init__(
        self, contract: Contract, layers: tuple[Projected, ...], dice: int, numbers: Whole
    ) -> None:
        floats = tuple(Dense(one.words.astype(f4), one.biases) for one in layers)
        super().__init__(contract, floats)
        self._contract, self._dice, self._numbers = contract, dice, numbers
        self._scales = dict(zip(self._held, (one.scales for one in layers), strict=True))
        self._read: dict[int, Rounded] = {}

    def norm(self, place: int) -> Dense:
        """Gain and bias of a norm, float32 [C]."""
        return Dense(self._scales[place], self._held[place].biases)

    def convolve(self, place: int, layer: Layer, x: Floats) -> Floats:
        """[B, C, H, W] -> [B, O, P, Q]"""
        held = self._held[place]
        read = self._read[place] = round_numbers(self._contract, x.reshape(len(x), -1))
        words = held.weights.astype(np.int64)
        s = convolutions.convolve(layer, words, read.words.reshape(x.shape)).astype(f4)
        scales = read.steps[:, None] * self._scales[place]
        out: Floats = s * scales[:, :, None, None] + held.biases[:, None, None]
        return out

    def rounded(self, place: int, d: Floats) -> Floats:
        """At random, by the record's number and never by its batch."""
        rows, bits = d.reshape(len(d), -1), numbers_of(self._contract).gradient_bits
        return round_gradient(rows, bits, self._dice, place, self._numbers).reshape(d.shape)

    def gradient(self, place: int, layer: Layer, x: Floats, d: Floats) -> Floats:
        """Of a convolution's weights: [B, weights]."""
        read = self._read[place]
        words = read.words.reshape(x.shape).astype(f4)
        return convolutions.convolution_gradient(layer, words, d) * read.steps[:, None]

    def back(self, place: int, layer: Layer, x: Floats, d: Floats, to: Floats) -> Floats:
        """What it reads, `x`, gets, added to what is there: [B, C, H, W]."""
        words, held = self._held[place].weights, np.abs(x) <= self._bounds(place)
        to = to.copy()
        for outputs, inputs in convolutions.groups(layer):
            for o in range(outputs.start, outputs.stop):
                nothing = np.zeros_like(to[:, inputs])
                s = convolutions.one_back(layer, words, d, o, nothing) * self._scales[place][o]
                to[:, inputs] = np.where(held[:, inputs], to[:, inputs] + s, to[:, inputs])
        return to

    def _bounds(self, place: int) -> Floats:
        return self._read[place].bounds[:, None, None, None]


class WordLayersDevice(WordsDevice):
    """A simulated board of any plan in words; see `clients.firmware.numbers.floats.Device`."""

    def gradients(self, batch: NDArray[np.int64]) -> Gradients:
        """Clipped gradients of some records."""
        x, y = self._inputs[batch].astype(np.int64), self._labels[batch].astype(np.int64)
        dice = round_word(self._key, self.step_number)
        numbers = InWords(self.contract, self.layers, dice, batch)
        return clipped(self.contract, numbers, x, y)

    def predict(self, inputs: NDArray[np.int16]) -> NDArray[np.int64]:
        """Classes int64 [B]."""
        nobody = np.zeros(len(inputs), np.int64)
        return classes(self.contract, InWords(self.contract, self.layers, 0, nobody), inputs)

    def _summed(self, gradients: Gradients) -> Whole:
        return summed(gradients)
