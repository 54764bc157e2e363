"""Lower bounds of epsilon: canaries in one training, or twins told apart where there is no handle;
or records that a coin each put into a training that is done.

Shapes: M canaries, R trainings.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.audit.canaries import (
    Bound,
    bounds,
    epsilon_gaussian,
    epsilon_independent,
    epsilon_one_run,
    epsilon_one_run_fdp,
)
from attacks.audit.steps.asking import Asked
from attacks.audit.steps.checks import HUGE, LEVEL, Check, decided
from attacks.leakage import clopper_pearson
from attacks.tape import Bools

TRAININGS = 100  # of each twin; the direction in which they differ is learnt from half
SHARED, LEFT = 2.0, 0.1  # canaries' worth in one direction; of a canary, beside what is shared
ALIKE = 0.05  # cosine of canaries' directions, up to which they are trials of their own
GUESSED = (1 / 32, 1 / 8, 1 / 4, 1 / 2)  # shares of the records
ONE_RUN = {  # which hold of records that are no trials of their own
    "one run": (epsilon_one_run, "nothing (Steinke, Nasr and Jagielski 2023)"),
    "one run, f-DP": (
        epsilon_one_run_fdp,
        "its trade-off curve is that of Gaussian DP (Mahloujifar et al. 2024)",
    ),
}
INDEPENDENT = "trainings are independent"
MEANING = "the mechanism protects less than claimed: see the checks above for why"


def canaries(asked: Asked, epsilon: float, seed: int = 0) -> tuple[list[Bound], Check]:
    """Each record is in by the toss of a coin; one training; who was in?

    Args:
        epsilon: what is claimed for the whole training.
    """
    claims, x, y = asked.claims, asked.claims.records, asked.claims.labels
    member = np.random.default_rng(seed).random(len(x)) < 0.5
    member[np.random.default_rng(seed).integers(len(x))] = True
    rows = np.stack([asked.silent(x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    rows = np.where(asked.loud, rows / np.where(asked.loud, asked.deviation, 1.0), 0.0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units = apart(rows / np.where(lengths > 0, lengths, 1.0))
    likeness = np.abs(units @ units.T - np.eye(len(x))).max()
    seen = asked.release(x[member], y[member])
    scores = units @ np.where(asked.loud, seen / np.where(asked.loud, asked.deviation, 1.0), 0.0)
    claimed = (claims.noise_multiplier or 0.0, claims.sample_rate or 1.0, claims.steps or 1)

    def found(chance: float) -> list[Bound]:
        alone = bool(likeness <= ALIKE)  # else only what assumes nothing
        return bounds(scores, member, claimed, claims.delta, seed, chance, alone)

    return found(0.05), _judged("canaries", found(LEVEL), epsilon)


def apart(units_MP: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions without what many of them share, such as a bias: each shows its canary alone.

    What is left of a canary in it is less; what others leave there is nothing.
    """
    values, vectors = np.linalg.eigh(units_MP @ units_MP.T)
    shared = vectors[:, values > SHARED]
    own = units_MP - shared @ (shared.T @ units_MP)
    lengths = np.linalg.norm(own, axis=1, keepdims=True)
    return np.where(lengths > LEFT, own / np.maximum(lengths, LEFT), 0.0)


def twins(asked: Asked, epsilon: float) -> tuple[list[Bound], Check]:
    """Trainings with a huge record, and without it: by their releases alone, which is which?"""
    x, y = asked.claims.records, asked.claims.labels
    loud = np.concatenate([x[:-1], x[-1:] * HUGE])
    sides = [(x[:-1], y[:-1]), (loud, y)]
    without, with_it = (
        np.stack([asked.release(*side) for _ in range(TRAININGS)]) for side in sides
    )
    half = TRAININGS // 2
    apart = with_it[:half].mean(0) - without[:half].mean(0)
    spread = np.concatenate([without[:half], with_it[:half]]).var(0)
    direction = apart / np.where(spread > 0, spread, 1.0)
    scores = [side @ direction for side in (without, with_it)]
    at = np.mean([score[:half].mean() for score in scores])
    false = int((scores[0][half:] > at).sum())
    missed = int((scores[1][half:] <= at).sum())

    def found(chance: float) -> list[Bound]:
        alpha, beta = (clopper_pearson(n, TRAININGS - half, 1 - chance)[1] for n in (false, missed))
        delta = asked.claims.delta
        curve = f"{INDEPENDENT}; its trade-off curve is that of Gaussian DP"
        return [
            Bound("Clopper-Pearson", epsilon_independent(alpha, beta, delta), INDEPENDENT),
            Bound("Gaussian DP", epsilon_gaussian(alpha, beta, delta), curve),
        ]

    return found(0.05), _judged("twins", found(LEVEL)[:1], epsilon)


def of_members(
    scores: NDArray[np.float64], member: Bools, epsilon: float, delta: float
) -> tuple[list[Bound], Check]:
    """Records [M], each in a finished training or not by the toss of a coin; who was in?

    Guessed are some shares of them, the likeliest in, alone or beside as many of the least likely;
    each guess has its part of the chance that a bound does not hold.
    """
    order = np.argsort(-scores, kind="stable")
    tried = []  # (how many are guessed, how many rightly)
    for num in sorted({max(1, int(share * len(member))) for share in GUESSED}):
        inside, outside = int(member[order[:num]].sum()), int((~member[order[-num:]]).sum())
        tried += [(num, inside), (2 * num, inside + outside)]

    def found(chance: float) -> list[Bound]:
        part = chance / len(tried)
        return [
            Bound(name, max(bound(len(member), *one, delta, part) for one in tried), assumes)
            for name, (bound, assumes) in ONE_RUN.items()
        ]

    return found(0.05), _judged("members", found(LEVEL)[:1], epsilon)


def _judged(name: str, certain: list[Bound], epsilon: float) -> Check:
    worst = max(certain, key=lambda bound: bound.epsilon)
    return decided(
        name,
        bool(worst.epsilon <= epsilon),
        f"epsilon is at least {worst.epsilon:.2f} ({worst.name}), all but certainly (1 in 10,000)",
        f"at most {epsilon:.2f}, which is claimed",
        MEANING,
    )
