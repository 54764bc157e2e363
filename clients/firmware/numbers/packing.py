"""Words of weights as a board reads them, packed: what a board that learns makes once a step."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.fitting import num_words, quads
from clients.firmware.net import Dense, Words
from clients.firmware.numbers.floats import Floats, Whole
from clients.firmware.numbers.words import begin, numbers_of, projected


class Packed(NamedTuple):
    """All words uint32, and scales and biases float32 of all outputs, layer by layer."""

    words: NDArray[np.uint32]
    scales: Floats
    biases: Floats


def packed(contract: Contract, layers: tuple[Dense, ...]) -> Packed:
    """Of real weights."""
    found, parts = projected(contract, begin(contract, layers)), []
    pack = _in_fours if contract.plan is None else _without_gaps
    for one, rows in zip(found, contract.rows, strict=True):
        if rows.has_words:
            parts.append(pack(numbers_of(contract), one.words))
    scales, biases = (np.concatenate([one[i] for one in found]) for i in (1, 2))
    return Packed(np.concatenate(parts), scales.astype(np.float32), biases.astype(np.float32))


def _in_fours(numbers: Words, words: Whole) -> NDArray[np.uint32]:
    """As words.c reads them: see PACKED there."""
    outputs, inputs = words.shape
    bits, quads_a_word = numbers.field_bits, 8 // numbers.field_bits
    row, k = np.indices(words.shape)
    quad = k >> 2
    length = quads(inputs, numbers) // quads_a_word
    at = (row & ~3) * length + 4 * (quad // quads_a_word) + (row & 3)
    shift = 8 * (k & 3) + bits * (quad % quads_a_word)
    return _put(numbers, words, at, shift, num_words(inputs, outputs, numbers))


def _without_gaps(numbers: Words, words: Whole) -> NDArray[np.uint32]:
    """As word_kernels.h reads them."""
    bits, at = numbers.field_bits, np.arange(words.size).reshape(words.shape)
    fields = 32 // bits
    size = -(-words.size * bits // 32)
    return _put(numbers, words, at // fields, bits * (at % fields), size)


def _put(numbers: Words, words: Whole, at: Whole, shift: Whole, size: int) -> NDArray[np.uint32]:
    codes = words & (1 << numbers.field_bits) - 1
    if numbers.projection == "binary":
        codes = (words < 0).astype(np.int64)
    found = np.zeros(size, np.int64)
    np.bitwise_or.at(found, at.ravel(), (codes << shift).ravel())
    return found.astype(np.uint32)
