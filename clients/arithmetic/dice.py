"""Random numbers of one layer, on one device, in one round.

Clients may train on threads of one process, so torch's global generator would make results depend
on their order. Each layer owns a `Dice`; `throw` gives the seed of a kernel's next call.
"""

from typing import Any

import numba
import numpy as np

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15  # of SplitMix64 (Steele, Lea and Flood 2014)

compiled: Any = numba.njit(nogil=True, cache=True)
inlined: Any = numba.njit(nogil=True, cache=True, inline="always")


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


class Dice:
    """A source of seeds, each thrown once."""

    def __init__(self) -> None:
        self.reseed(0)

    def reseed(self, seed: int) -> None:
        """Begin anew: the same seed, the same throws."""
        self._seed, self._throws = seed, 0

    def throw(self) -> int:
        """A seed in [0, 2^63)."""
        self._throws += 1
        return int(scramble(np.uint64((self._seed + self._throws * GOLDEN) & MASK))) >> 1
