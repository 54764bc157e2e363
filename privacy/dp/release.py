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
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import Key
from privacy.dp.noise import Noise
from privacy.errors import SettingsError

FINENESS = 20  # bits of a number as large as the mean square of a vector at the clip allows
MARGIN = 2.0**-20  # of the clip: more than float64 loses in the norm of 2^32 numbers
MOST_DEVIATION = 2.0**52  # steps: beyond it float64 has no whole numbers


@dataclass(frozen=True)
class Grid:
    """Whole numbers for vectors of one size and clip.

    Attributes:
        clip: L2 norm.
        size: numbers of a vector.
    """

    clip: float
    size: int

    @cached_property
    def most(self) -> int:
        """The clip in steps: a power of two, the finer the more numbers share it."""
        return 1 << (FINENESS + ((max(self.size, 1) - 1).bit_length() + 1) // 2)

    @property
    def step(self) -> float:
        """What one stands for."""
        return self.clip / self.most

    def whole(self, vector: NDArray) -> NDArray[np.int64]:
        """A vector [size] in steps, of an L2 norm of at most `most`, exactly.

        The norm is that of the vector over its largest number, so that no square overflows or is
        lost. A vector that is not finite has no direction, is over any bound, and comes out zero.

        Raises:
            ValueError: of another size.
        """
        values = np.asarray(vector, np.float64)
        if values.shape != (self.size,):
            raise ValueError(f"a vector of {list(values.shape)}, not [{self.size}]")
        largest = float(np.abs(values).max(initial=0.0))
        if largest == 0 or not math.isfinite(largest):
            return np.zeros(self.size, np.int64)
        values = values / largest
        norm = math.sqrt(float(values @ values))
        share = min(largest / self.clip, (1 - MARGIN) / norm)
        return np.trunc(values * (share * self.most)).astype(np.int64)


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
        self.total += self.grid.whole(vector)

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
            deviation = noise_multiplier * self.grid.most
            if not deviation < MOST_DEVIATION:
                raise SettingsError(
                    f"[budget] noise_multiplier = {noise_multiplier:g}: too much for a model of "
                    f"{self.grid.size} numbers; use less than "
                    f"{MOST_DEVIATION / self.grid.most:g}"
                )
            noisy = noisy + Noise(key).integers(deviation, self.grid.size)
        return noisy * (self.grid.step / divisor)
