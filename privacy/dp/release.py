"""The mean of clipped vectors, released once: clip, whole numbers, exact sum, noise, division.

Each vector is scaled to the clip in float64 and rounded towards zero to whole steps of a public
grid, so that its norm on the grid is at most the clip, whatever was rounded. Sums of whole numbers
are exact: one vector more or less moves the sum by itself and by nothing else. Noise is a Gaussian
rounded to the grid; since the sum is whole, that is the continuous Gaussian mechanism and then a
rounding, and the low bits of the result tell nothing of the sum (Mironov 2012 tells what they tell
without a grid). Only then is it divided, by a number that is public.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import Key
from privacy.dp.grid import Grid
from privacy.dp.noise import MOST_DEVIATION, Noise
from privacy.errors import SettingsError

MARGIN = 2.0**-20  # of the clip: more than float64 loses in the norm of 2^32 numbers


def most_steps(grid: Grid) -> int:
    """The clip in steps: a power of two."""
    return round(grid.clip / grid.step)


def whole(vector: NDArray, grid: Grid) -> NDArray[np.int64]:
    """A vector [size] in steps of a grid, of an L2 norm of at most `most_steps`, exactly.

    The norm is that of the vector over its largest number, so that no square overflows or is
    lost. A vector that is not finite has no direction, is over any bound, and comes out zero.

    Raises:
        ValueError: of another size.
    """
    values = np.asarray(vector, np.float64)
    if values.shape != (grid.size,):
        raise ValueError(f"a vector of {list(values.shape)}, not [{grid.size}]")
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return np.zeros(grid.size, np.int64)
    values = values / largest
    norm = math.sqrt(float(values @ values))
    share = min(largest / grid.clip, (1 - MARGIN) / norm)
    return np.trunc(values * (share * most_steps(grid))).astype(np.int64)


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
