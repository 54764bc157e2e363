"""A predictor proposes: it is fitted anew to all that was measured, and screens a thousand points.

Of each objective and of each limit a Gaussian process says what it expects of a point, and how sure
it is (`server.predictor`). Half of the points are from anywhere, half are children of the best. The
first is that of the greatest expected maximin improvement (Svenson and Santner, "Multiobjective
optimization of expensive-to-evaluate deterministic computer simulator models", 2016): how much
better it is than any of the front, in the objective where it is best; of draws that the front
dominates nothing counts. It is taken times the chance that all limits are kept.
"""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from server.predictor import Predictor
from server.sweep.axes import Axis, Point
from server.sweep.proposals.evolution import any_of, child_of, first_front, parents_of
from server.sweep.proposals.told import Told, numbers_of

SCREENED, DRAWS = 1000, 64


def screened(axes: Sequence[Axis], told: Sequence[Told], dice: random.Random) -> list[Point]:
    """A thousand points, from which most is expected first.

    Args:
        told: two at least that were trained.
    """
    trained = [(one.point, tuple(one.scores)) for one in told if one.scores is not None]
    points, scores = [point for point, _ in trained], [score for _, score in trained]
    parents = parents_of(points, scores)
    pool = [any_of(axes, dice) for _ in range(SCREENED // 2)]
    pool += [child_of(axes, parents, dice) for _ in range(SCREENED // 2)]
    rows = [numbers_of(axes, point) for point in pool]
    seen = [numbers_of(axes, point) for point in points]
    unit = np.std(scores, 0) + 1e-12
    answers = [Predictor(seen, column)(rows) for column in zip(*scores, strict=True)]
    means, deviations = (np.stack(part, 1) / unit for part in zip(*answers, strict=True))
    front = np.array([scores[i] for i in first_front(scores)]) / unit
    gains = improvement(means, deviations, front, dice.randrange(1 << 32))
    for limit in told[0].over:
        tried = [numbers_of(axes, one.point) for one in told]
        mean, deviation = Predictor(tried, [one.over[limit] for one in told])(rows)
        gains *= ndtr(-mean / deviation)
    return [pool[i] for i in np.argsort(-gains, kind="stable")]


def improvement(means: NDArray, deviations: NDArray, front: NDArray, seed: int) -> NDArray:
    """The expected maximin improvement of points over a front.

    Args:
        means, deviations: of objectives, each to be as great as can be: [N, K].
        front: [M, K]

    Returns:
        [N]
    """
    normal = np.random.default_rng(seed).standard_normal((DRAWS, 1, means.shape[1]))
    total = np.zeros(len(means))
    for draw in means + deviations * normal:
        least = (draw[:, None] - front).max(2).min(1)
        total += least.clip(min=0)
    return total / DRAWS
