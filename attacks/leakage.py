"""Leakage: how much an attack's scores tell of membership, each figure with its 95 % interval.

Shapes: N records.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm, rankdata

from attacks.tape import Bools

LEVEL = 0.95
LOW_FPR = 0.001
NON_MEMBERS_FOR_LOW_FPR = 10_000  # with fewer, ten false positives decide TPR at 0.1 %
BOOTSTRAPS = 400

Scores = NDArray[np.float64]
Weighted = Callable[[NDArray, NDArray], float]


@dataclass(frozen=True)
class Figure:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Leakage:
    """What one adversary learns by one attack.

    Attributes:
        attack: its name, chosen on shadows.
        auc: of the ROC: 0.5 is a guess.
        tpr_at_1_percent: true positives where 1 % of non-members are accused.
        tpr_at_0_1_percent: None with fewer than 10,000 non-members: they do not tell.
        balanced_accuracy: at the threshold that was best on the shadows; None without them.
        epsilon: a lower bound: some membership is learned more surely than any smaller epsilon
            allows; its threshold was chosen on the shadows. That it is 0 proves nothing.
        roc: [false, true positive rate] at logarithmic steps, for a log-log plot.
    """

    attack: str
    members: int
    non_members: int
    auc: Figure
    tpr_at_1_percent: Figure
    tpr_at_0_1_percent: Figure | None
    balanced_accuracy: Figure | None
    epsilon: float | None
    roc: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(
    attack: str,
    scores: Scores,
    member: Bools,
    *,
    clusters: NDArray | None = None,
    trials: Sequence[tuple[Scores, Bools]] = (),
    delta: float = 1e-5,
    seed: int = 0,
) -> Leakage:
    """All figures of one attack.

    Args:
        clusters: int [N]: rows with one value are one record, seen more than once.
        trials: scores and members on shadows: thresholds are chosen there.
    """
    rng = np.random.default_rng(seed)
    enough = (~member).sum() >= NON_MEMBERS_FOR_LOW_FPR
    return Leakage(
        attack=attack,
        members=int(member.sum()),
        non_members=int((~member).sum()),
        auc=delong(scores, member)
        if clusters is None
        else bootstrap(area, scores, member, rng, clusters),
        tpr_at_1_percent=bootstrap(found_at_1_percent, scores, member, rng, clusters)
        if clusters is not None
        else tpr_interval(scores, member, 0.01, rng),
        tpr_at_0_1_percent=tpr_interval(scores, member, LOW_FPR, rng)
        if enough and clusters is None
        else None,
        balanced_accuracy=balanced_accuracy(scores, member, _best_cut(trials)) if trials else None,
        epsilon=empirical_epsilon(scores, member, _surest_cut(trials, delta), delta)
        if trials
        else None,
        roc=roc(scores, member),
    )


def auc(scores: Scores, member: Bools) -> float:
    """Chance that a member scores above a non-member; a tie counts a half."""
    ranks = rankdata(scores)
    inside = int(member.sum())
    outside = len(member) - inside
    return float((ranks[member].sum() - inside * (inside + 1) / 2) / (inside * outside))


def tpr_at(scores: Scores, member: Bools, fpr: float) -> float:
    """True positive rate at the lowest threshold with a false positive rate of at most `fpr`.

    Ties at the threshold are not accused: no attack gains by giving many the same score.
    """
    outside = np.sort(scores[~member])[::-1]
    threshold = outside[min(math.floor(fpr * len(outside) + 1e-9), len(outside) - 1)]
    return float((scores[member] > threshold).mean())


def roc(scores: Scores, member: Bools, points: int = 61) -> list[list[float]]:
    """[FPR, TPR] at logarithmic steps of FPR, no finer than the non-members allow."""
    least = 1 / max(2, int((~member).sum()))
    rates = np.unique(np.geomspace(least, 1, points))
    order = np.sort(scores[~member])[::-1]
    cuts = order[np.minimum((rates * len(order) + 1e-9).astype(int), len(order) - 1)]
    inside = np.sort(scores[member])
    true = 1 - np.searchsorted(inside, cuts, side="right") / len(inside)
    true[-1] = 1.0
    return [[round(float(f), 6), round(float(t), 6)] for f, t in zip(rates, true, strict=True)]


def delong(scores: Scores, member: Bools, level: float = LEVEL) -> Figure:
    """AUC with the interval of DeLong et al. 1988 (ranks: Sun and Xu 2014), on the logit scale."""
    value = auc(scores, member)
    ranks = rankdata(scores)
    inside, outside = scores[member], scores[~member]
    v10 = (ranks[member] - rankdata(inside)) / len(outside)
    v01 = 1 - (ranks[~member] - rankdata(outside)) / len(inside)
    variance = v10.var(ddof=1) / len(inside) + v01.var(ddof=1) / len(outside)
    if not 0 < value < 1:
        edge = 1 - (1 - level) ** (1 / min(len(inside), len(outside)))
        return Figure(value, max(0.0, value - edge), min(1.0, value + edge))
    centre = math.log(value / (1 - value))
    half = norm.ppf((1 + level) / 2) * math.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-(centre + s * half))) for s in (-1, 1))
    return Figure(value, low, high)


def tpr_interval(scores: Scores, member: Bools, fpr: float, rng: np.random.Generator) -> Figure:
    """`tpr_at` with the percentile interval of the bootstrap, members and non-members drawn apart.

    Nothing is redrawn: the threshold of a redrawn sample is an order statistic of n uniform ranks,
    which is a beta variable, and the members above it are then binomial.
    """
    outside, inside = np.sort(scores[~member])[::-1], np.sort(scores[member])
    spared = min(math.floor(fpr * len(outside) + 1e-9), len(outside) - 1)
    ranks = rng.beta(spared + 1, len(outside) - spared, BOOTSTRAPS * 10)
    cuts = outside[np.minimum((ranks * len(outside)).astype(int), len(outside) - 1)]
    above = 1 - np.searchsorted(inside, cuts, side="right") / len(inside)
    draws = rng.binomial(len(inside), above) / len(inside)
    return _percentiles(tpr_at(scores, member, fpr), draws)


def bootstrap(
    statistic: Weighted, scores: Scores, member: Bools, rng: np.random.Generator, clusters: NDArray
) -> Figure:
    """Percentile interval; whole records are drawn: rows of one record do not vary on their own.

    A row that is drawn k times has weight k, so rows are put in order once.

    Args:
        clusters: int [N]: rows with one value are one record.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of rows with one score
    inside, record = member[order], np.unique(clusters[order], return_inverse=True)[1]
    num = int(record.max()) + 1

    def value(times: NDArray) -> float:
        weight = times[record]
        true, false = (np.cumsum(weight * part)[last] for part in (inside, ~inside))
        return statistic(true, false) if true[-1] and false[-1] else math.nan

    draws = [
        value(np.bincount(rng.integers(num, size=num), minlength=num)) for _ in range(BOOTSTRAPS)
    ]
    return _percentiles(value(np.ones(num, int)), np.array([d for d in draws if d == d]))


def area(true: NDArray, false: NDArray) -> float:
    """`auc` from the members and non-members counted at and above each score, highest first."""
    steps = np.diff(false, prepend=0)
    return float((steps * (true + np.append(0, true[:-1]))).sum() / (2 * true[-1] * false[-1]))


def found_at_1_percent(true: NDArray, false: NDArray) -> float:
    """`tpr_at` 1 %, from the same counts."""
    allowed = int(np.searchsorted(false, 0.01 * false[-1] + 1e-9, side="right"))
    return float(true[allowed - 1] / true[-1]) if allowed else 0.0


def _percentiles(value: float, draws: NDArray) -> Figure:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(value, float(low), float(high))


def gap(inside: NDArray, outside: NDArray, of: str) -> dict[str, Any]:
    """How much better members are answered for: by accuracy, or by a loss that is less."""
    worse = inside.mean() - outside.mean()
    value = worse if of == "accuracy" else -worse
    half = 1.96 * np.sqrt(inside.var() / len(inside) + outside.var() / len(outside))
    found = {"value": float(value), "low": float(value - half), "high": float(value + half)}
    return {
        f"train_{of}": float(inside.mean()),
        f"test_{of}": float(outside.mean()),
        "gap" if of == "accuracy" else "gap_of_loss": found,
    }


def clopper_pearson(hits: int, of: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share; each side fails with chance (1 - level) / 2."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, of - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, of - hits)) if hits < of else 1.0
    return low, high


def balanced_accuracy(scores: Scores, member: Bools, threshold: float) -> Figure:
    """Mean of the true rates on members and non-members; both Clopper-Pearson at 97.5 %."""
    hits = [int((scores[member] > threshold).sum()), int((scores[~member] <= threshold).sum())]
    sizes = [int(member.sum()), int((~member).sum())]
    bounds = [clopper_pearson(h, n, (1 + LEVEL) / 2) for h, n in zip(hits, sizes, strict=True)]
    value = sum(h / n for h, n in zip(hits, sizes, strict=True)) / 2
    return Figure(value, sum(b[0] for b in bounds) / 2, sum(b[1] for b in bounds) / 2)


def empirical_epsilon(
    scores: Scores, member: Bools, cut: tuple[float, bool], delta: float
) -> float:
    """The lower bound that one threshold proves, at 95 % (Jagielski et al. 2020).

    Args:
        cut: a threshold, and whether those above it are called members (else those below it are
            called non-members).
    """
    threshold, above = cut
    return float(_proven(scores, member, np.array([threshold]), above, delta)[0])


def _proven(scores: Scores, member: Bools, cuts: NDArray, above: bool, delta: float) -> NDArray:
    """`empirical_epsilon` of several thresholds."""
    inside, outside = np.sort(scores[member]), np.sort(scores[~member])
    below = [np.searchsorted(part, cuts, side="right") for part in (inside, outside)]
    sizes = [len(inside), len(outside)]
    said = [n - b for n, b in zip(sizes, below, strict=True)] if above else below[::-1]
    (hits, misses), (of, others) = said, sizes if above else sizes[::-1]
    tail = (1 - LEVEL) / 2
    true = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), of - hits + 1), 0.0)
    false = beta.ppf(1 - tail, misses + 1, np.maximum(others - misses, 1))
    false = np.where(misses < others, false, 1.0)
    return np.maximum(0.0, np.log(np.maximum(true - delta, 1e-300) / false))


def _pooled(trials: Sequence[tuple[Scores, Bools]]) -> tuple[Scores, Bools]:
    scores, members = zip(*trials, strict=True)
    return np.concatenate(scores), np.concatenate(members)


def _best_cut(trials: Sequence[tuple[Scores, Bools]]) -> float:
    scores, member = _pooled(trials)
    cuts = np.quantile(scores, np.linspace(0.01, 0.99, 99))
    inside, outside = np.sort(scores[member]), np.sort(scores[~member])
    true = 1 - np.searchsorted(inside, cuts, "right") / len(inside)
    false = 1 - np.searchsorted(outside, cuts, "right") / len(outside)
    return float(cuts[np.argmax(true - false)])


def _surest_cut(trials: Sequence[tuple[Scores, Bools]], delta: float) -> tuple[float, bool]:
    """The threshold that proves most on a few shadows, each with as many records as the target."""
    scores, _ = _pooled(trials)
    shares = np.concatenate([np.geomspace(0.001, 0.5, 25), 1 - np.geomspace(0.001, 0.5, 25)])
    cuts = np.quantile(scores, shares)
    means = {
        above: np.mean([_proven(s, m, cuts, above, delta) for s, m in trials[:4]], axis=0)
        for above in (True, False)
    }
    surest = max(means, key=lambda above: float(means[above].max()))
    return float(cuts[np.argmax(means[surest])]), surest
