"""The noisy count of updates within the clip, that the next clip follows from.

It is computed and noised in whole numbers, as the sum beside it is; what its noise must be is told
in `privacy.dp.clipping.split`.
"""

import math

from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.clipping.split import Split
from privacy.dp.noise import Noise

ONE = 1 << 16  # a vote of 1 in whole numbers


def weights_of(quantile: float) -> tuple[int, int]:
    """What a client within the clip adds to the sum of votes, and what one beyond it takes off, in
    parts of `ONE`: rounded towards zero, so that none moves it by more than the noise is made for.
    """
    return math.floor((1 - quantile) * ONE), math.floor(quantile * ONE)


class Votes:
    """The exact sum of a round's votes, and its one noisy release.

    Attributes:
        total: in parts of `ONE`.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._within, self._beyond = weights_of(budget.clip_quantile)
        self.total = 0

    def add(self, within: bool) -> None:
        """Take a client's vote in.

        Args:
            within: its update was not clipped, by the clip of this round.
        """
        self.total += self._within if within else -self._beyond

    def release(self, key: Key, planned: int) -> float:
        """The noisy share of updates within the clip, where who failed counts as the quantile.

        Args:
            key: of this noise, and of nothing else.
            planned: public, so the number of clients that were planned.
        """
        deviation = Split.of(self._budget).of_count * ONE
        (noise,) = Noise(key).integers(deviation, 1).tolist()
        return self._budget.clip_quantile + (self.total + noise) / (ONE * planned)
