"""Sums on a grid: whole numbers of a public step, to which whole noise is added.

What a sum in floating point hides in its low bits, integers do not have: what is released is
round(sum / step) + noise, a function of integers, and all that follows is post-processing.

A sum of records is rounded once, and rounding has a share in a record's influence. A `Sum` of whole
clients needs none: each vector is clipped in float64 and rounded towards zero, so that its norm in
steps is at most the clip, whatever was rounded; then sums are exact, and one vector more or less
moves them by itself and by nothing else. Only the noisy sum is divided, by a public number.
"""

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import Key
from privacy.compiling import compiled
from privacy.dp.noise import MOST_DEVIATION, Noise
from privacy.errors import SettingsError

SHARE_BITS = 14  # rounding moves two neighbours' sums apart by at most 2^-14 of the clip
MARGIN = 2.0**-20  # of the clip: more than float64 loses in the norm of 2^32 numbers

Floats = NDArray[Any]


class Grid(NamedTuple):
    """A public step for sums of records, each of whose norm is at most `clip`.

    Attributes:
        step: what an integer stands for.
        clip: the sensitivity that is claimed.
        size: numbers in a sum.
    """

    step: float
    clip: float
    size: int

    @classmethod
    def of(cls, clip: float, size: int) -> "Grid":
        """The grid that everyone can work out from the clip and the number of weights."""
        return cls(math.ldexp(clip, -SHARE_BITS - math.ceil(math.log2(size) / 2)), clip, size)

    @property
    def share(self) -> float:
        """Of the clip: what rounding a sum may add to a record's influence on it."""
        return math.sqrt(self.size) * self.step / self.clip

    def noisy(
        self, total: NDArray[np.float64], noise_multiplier: float, noise: Noise, out: Floats
    ) -> None:
        """Release a sum: rounded, noised, and only then a real number again.

        Args:
            total: [size], finite.
            noise_multiplier: sigma, of the clip.
            out: [size], of any floating type.
        """
        deviation = noise_multiplier * self.clip / self.step
        _release(total, noise.integers(deviation, self.size), self.step, out)


def sum_share(num_records: float, block: int) -> float:
    """What sums in float32 may add to a record's influence, as a share of the clip.

    A block of b records is summed up in float32, in any order, and blocks in float64. A sum of b
    numbers is off by at most 2^-24 of each partial sum's size (Higham 2002, section 4.2), which is
    at most 1, 2, ... b clips: by b^2 / 2 clips in all. One record more may shift every block, so it
    counts for both neighbours.

    Args:
        num_records: expected in a Poisson batch; counted are 9 deviations and 20 more, which is
            exceeded with a probability below 10^-17.
    """
    most = num_records + 9 * math.sqrt(num_records) + 20
    return (most + block) * block * 2.0**-24


@compiled  # type: ignore[untyped-decorator]
def _release(total: Floats, noise: NDArray[np.int64], step: float, out: Floats) -> None:
    for i in range(len(total)):
        out[i] = (np.rint(total[i] / step) + np.float64(noise[i])) * step


def most_steps(grid: Grid) -> int:
    """The clip in steps: a power of two."""
    return round(grid.clip / grid.step)


def whole(vector: NDArray, grid: Grid) -> NDArray[np.int64]:
    """A vector [size] in steps of a grid, of an L2 norm of at most `most_steps`, exactly.

    A vector that is not finite has no direction, is over any bound, and comes out zero.

    Raises:
        ValueError: of another size.
    """
    values, asked, most = _measured(vector, grid)
    return np.trunc(values * (min(asked, most) * most_steps(grid))).astype(np.int64)


def fits(vector: NDArray, grid: Grid) -> bool:
    """Is a vector [size] within the clip, so that `whole` cuts nothing off?"""
    _, asked, most = _measured(vector, grid)
    return asked <= most


def _measured(vector: NDArray, grid: Grid) -> tuple[NDArray[np.float64], float, float]:
    """A vector over its largest number, so that no square overflows or is lost; that number over
    the clip; and what it may be at most, of a vector in this direction."""
    values = np.asarray(vector, np.float64)
    if values.shape != (grid.size,):
        raise ValueError(f"a vector of {list(values.shape)}, not [{grid.size}]")
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return values, 0.0, 1.0
    if not math.isfinite(largest):
        return np.zeros(grid.size), math.inf, 0.0
    values = values / largest
    return values, largest / grid.clip, (1 - MARGIN) / math.sqrt(float(values @ values))


class Sum:
    """The exact sum of vectors on a grid, and its one noisy release.

    Attributes:
        total: in steps, int64 [size].
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.total = np.zeros(grid.size, np.int64)

    def add(self, vector: NDArray) -> None:
        """Take a vector [size] in, clipped."""
        self.total += whole(vector, self.grid)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the sum: noise of a key made with it is shared with no other sum."""
        return hashlib.sha256(self.total.astype("<i8").tobytes()).digest()

    def mean(self, noise_multiplier: float, key: Key, divisor: int) -> NDArray[np.float64]:
        """The noisy sum over `divisor`, [size].

        Args:
            noise_multiplier: deviation of the sum's noise over the clip.
            key: of the noise, and of nothing else.
            divisor: public, so the number of vectors that were planned.

        Raises:
            SettingsError: so much noise that there are no whole numbers for it.
        """
        noisy = self.total
        if noise_multiplier:
            most = MOST_DEVIATION / most_steps(self.grid)
            if not noise_multiplier <= most:
                raise SettingsError(
                    f"[budget] noise_multiplier = {noise_multiplier:g}: too much for a model of "
                    f"{self.grid.size} numbers; use at most {most:g}"
                )
            deviation = noise_multiplier * most_steps(self.grid)
            noisy = noisy + Noise(key).integers(deviation, self.grid.size)
        return noisy * (self.grid.step / divisor)
