"""What a device draws in training.

What a release depends on follows from one key a round: a secret one, or one that is made of the
seed and of all that shapes the release, records and weights too. So the same experiment gives the
same weights, and two others have no noise, batch or dice in common.

What is drawn for a record in training follows from the step and the record alone (`row_seeds`):
were it drawn by place in the batch, one record more would change what all others add to the sum.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from privacy.cipher import Key, LongWords
from privacy.compiling import compiled, compiling

GOLDEN = 0x9E3779B97F4A7C15  # of SplitMix64 (Steele, Lea and Flood 2014)

inlined: Any = compiling(inline="always")


def digest(tensors: Iterable[Tensor]) -> bytes:
    """SHA-256 of the tensors' numbers, in their order."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().contiguous().numpy())
    return total.digest()


def round_key(seed: int, *shapes: str | int | bytes) -> Key:
    """The key of one device's round, from the seed and all that shapes what it releases."""
    return Key.of("privet round", seed, *shapes)


@inlined  # type: ignore[untyped-decorator]
def scramble(state: Any) -> Any:
    """SplitMix64's output function: uint64 -> uint64, a new random word for each state."""
    word = np.uint64(state)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@inlined  # type: ignore[untyped-decorator]
def uniform(seed: Any, index: Any) -> Any:
    """A float32 in [0, 1) for each seed and index."""
    word = scramble(np.uint64(seed) + np.uint64(index) * np.uint64(GOLDEN))
    return np.float32(word >> np.uint64(40)) * np.float32(2.0**-24)


def row_seeds(word: np.uint64, records: NDArray[np.int64]) -> LongWords:
    """A seed for each record, uint64 [B], from a word of the step and the record's own number."""
    out = np.empty(len(records), np.uint64)
    _row_seeds(word, records, out)
    return out


def uniforms(seeds: LongWords, num: int) -> NDArray[np.float32]:
    """Draws in [0, 1) for each record, [B, num]."""
    out = np.empty((len(seeds), num), np.float32)
    _uniforms(seeds, out)
    return out


@compiled  # type: ignore[untyped-decorator]
def _row_seeds(word: Any, records: NDArray[np.int64], out: LongWords) -> None:
    for n in range(len(records)):
        out[n] = scramble(word + np.uint64(records[n]) * np.uint64(GOLDEN))


@compiled  # type: ignore[untyped-decorator]
def _uniforms(seeds: LongWords, out: NDArray[np.float32]) -> None:
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[n, i] = uniform(seeds[n], i)
