"""The clip follows a quantile of the norms of clients' updates, by a noisy count of those within it
(Andrew, Thakkar, McMahan and Ramaswamy 2021, algorithm 1).

A round releases two sums: of the clipped updates, and of votes. Each vote says whether an update
was within the clip of that round, and no more: 1 - q if it was and -q if not, for a quantile q. So
who fails is a zero in either sum, and a clip that leaves a share q of those who came as they are
stays where it is. (The paper votes 1/2 and -1/2, which is the same for the median; for another
quantile, clients that fail would move the clip.) One client more moves the first sum by at most the
clip and the second by at most s = max(q, 1 - q), in any direction. So noise of z_sum times the clip
and of a deviation of sigma_b cost together what one sum with a noise multiplier z costs, where
(theorem 1)

    z^-2 = z_sum^-2 + (s / sigma_b)^2

The count has a fixed share of z^-2, so there is a split for every z and every cohort. What is made
of the noisy count is post-processing; the next clip is public.
"""

import math
from typing import NamedTuple

from privacy.dp.budget import LEAST_CLIP, MOST_CLIP, Budget

SHARE = 0.01  # of what a round costs, z^-2: the count's


class Split(NamedTuple):
    """The noise of a round's two sums.

    Attributes:
        of_sum: noise multiplier of the sum of updates, of the clip.
        of_count: deviation of the noise in the sum of votes, in clients.
    """

    of_sum: float
    of_count: float

    @classmethod
    def of(cls, budget: Budget) -> "Split":
        """Of a budget whose noise is solved; without a quantile all is the sum's."""
        z = budget.noise_multiplier or 0.0
        if not budget.clip_quantile:
            return cls(z, 0.0)
        most = max(budget.clip_quantile, 1 - budget.clip_quantile)
        return cls(z / math.sqrt(1 - SHARE), z * most / math.sqrt(SHARE))


def after(budget: Budget, clip: float, share: float) -> Budget:
    """The budget with the clip of the next round, from what was released (algorithm 1).

    In one round it moves by a factor of less than exp(clip_rate), and never out of the range of
    [budget] clip.

    Args:
        clip: of this round.
        share: noisy, so perhaps no share at all.
    """
    share = min(1.0, max(0.0, share))
    moved = clip * math.exp(-budget.clip_rate * (share - budget.clip_quantile))
    return budget.model_copy(update={"clip": min(MOST_CLIP, max(LEAST_CLIP, moved))})
