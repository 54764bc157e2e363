"""Sums on a grid: whole numbers of a public step, to which whole noise is added.

What a sum in floating point hides in its low bits, integers do not have: what is released is
round(sum / step) + noise, a function of integers, and all that follows is post-processing.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import compiled
from privacy.dp.noise import Noise

SHARE_BITS = 14  # rounding moves two neighbours' sums apart by at most 2^-14 of the clip
MOST_SHARE = 0.5  # of the clip, that rounding may take

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
