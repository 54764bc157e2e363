"""Noise that takes itself back: banded matrix factorisation (Choquette-Choo et al. 2023).

Of rounds t = 1 ... T with sums S, what is released is S + C^-1 z, for a lower triangular matrix C
of `bands` bands and independent noise z: a function of C S + z, and so a Gaussian mechanism,
whatever is made of earlier releases (Denisov et al. 2022). Who takes part in one at most of any
`bands` rounds in a row meets columns of C that share no row, and z is as large as the longest of
them: k rounds cost what k independent releases cost. Weights are sums of releases, in which much
of the noise cancels.

C is in whole numbers, and so is all that is computed here. Let Y = C S + z, in whole steps. A
round's noise is its z, less what C takes from the noise of the rounds before, over C's diagonal,
rounded. The same rule makes of Y the releases S + noise, since C S leaves it without a remainder:
rounding, too, is a function of Y, and nothing is left to floating point.
"""

import hashlib
import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import Key
from privacy.dp.banded.factors import optimal
from privacy.dp.noise import MOST_DEVIATION, Noise

UNIT = 1 << 10  # the largest entry but for the last columns; rounding costs less than a thousandth

Whole = NDArray[np.int64]


class Matrix:
    """C, in whole numbers: lower triangular, of `bands` bands, for so many rounds.

    All columns are alike but for the last, which are cut off below. They are scaled up again, to
    no more than the norm of the others.

    Attributes:
        column: of all rounds but the last: its entries from the diagonal down.
    """

    def __init__(self, rounds: int, bands: int) -> None:
        self.rounds, self.bands = rounds, bands
        factors = optimal(rounds, bands)
        self.column = np.rint(factors * (UNIT / factors.max())).astype(np.int64)

    @property
    def norm(self) -> float:
        """Sensitivity of C to one client in one round: no column's norm is larger."""
        return math.sqrt(self._squared(self.column))

    def below(self, number: int) -> Whole:
        """The entries of column `number` = 1, 2, ... from the diagonal down."""
        left = self.rounds - number + 1
        if left >= self.bands:
            return self.column
        cut = self.column[:left]
        scale = math.sqrt(self._squared(self.column) / self._squared(cut))
        return np.floor(cut * (scale * (1 - 2.0**-40))).astype(np.int64)

    def row(self, number: int) -> list[int]:
        """The entries of row `number`, from the diagonal to the left."""
        first = max(1, number - self.bands + 1)
        return [int(self.below(t)[number - t]) for t in range(number, first - 1, -1)]

    @staticmethod
    def _squared(column: Whole) -> int:
        return sum(int(entry) ** 2 for entry in column)


@lru_cache(maxsize=8)
def matrix(rounds: int, bands: int) -> Matrix | None:
    """The matrix of a run of so many rounds; None if each round's noise is its own."""
    return Matrix(rounds, bands) if bands > 1 else None


class Banded:
    """The noise of a run's releases, round by round.

    Args:
        matrix: of the run.
        number: of the round that comes next.
        before: the noise of as many rounds before it as there are, the last one last; at most
            `bands` - 1 are used.
    """

    def __init__(self, matrix: Matrix, number: int = 1, before: Iterable[Whole] = ()) -> None:
        self.matrix, self.number = matrix, number
        self._before = list(before)
        if len(self._before) < min(number, matrix.bands) - 1:
            raise ValueError(f"round {number}: the noise of rounds before it is missing")

    @property
    def before(self) -> list[Whole]:
        """The noise of the last rounds, as many as another `Banded` may need."""
        return self._before[-self.matrix.bands :]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the matrix, and of the noise that the next one takes back."""
        known = hashlib.sha256(f"{self.matrix.rounds} {self.matrix.bands}".encode())
        for noise in self._before[1 - self.matrix.bands :]:
            known.update(noise.astype("<i8").tobytes())
        return known.digest()

    def most(self, steps: int) -> float:
        """The largest noise multiplier for which there are whole numbers."""
        return MOST_DEVIATION / (steps * self.matrix.norm)

    def draw(self, deviation: float, key: Key, size: int) -> Whole:
        """The noise of the next round, int64 [size], in steps.

        Args:
            deviation: of noise that stood for itself: noise multiplier times clip, in steps.
            key: of this round, and of nothing else.
        """
        own, *others = self.matrix.row(self.number)
        drawn = Noise(key).integers(deviation * self.matrix.norm, size)
        for entry, noise in zip(others, reversed(self._before), strict=False):
            drawn -= entry * noise
        drawn = nearest(drawn, own)
        self._before = [*self.before, drawn]
        self.number += 1
        return drawn


def nearest(numbers: Whole, divisor: int) -> Whole:
    """Numbers over a whole divisor, each to the nearest whole number; halves upwards.

    Whatever multiple of the divisor is added to a number is added to the result.
    """
    return (2 * numbers + divisor) // (2 * divisor)
