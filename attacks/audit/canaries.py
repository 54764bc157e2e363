"""Lower bounds on epsilon from canaries: records, each in the data by the toss of a coin.

A canary's score says how much it seems to have been in. Every bound holds but for a chance of 5 %,
under the assumption that is named with it. Which scores count as a guess is settled beforehand, on
scores drawn from the mechanism that is *claimed*: no look at the data, no correction for looks.

Shapes: M canaries, T steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import binom

from attacks.audit.tradeoff import epsilon_sampled
from attacks.leakage import clopper_pearson
from attacks.tape import Bools

Scores = NDArray[np.float64]
SHARES = np.geomspace(0.001, 0.5, 20)  # of the canaries that may be guessed to be in
MAX_EPSILON = 60.0
REHEARSALS = 4
CHANCE = 0.05  # that a bound does not hold


@dataclass(frozen=True)
class Bound:
    """A lower bound on epsilon, and what must be so for it to hold."""

    name: str
    epsilon: float
    assumes: str


def likelihood(h_TM: NDArray, noise_multiplier: float, sample_rate: float) -> Scores:
    """Score of each canary: the log-likelihood ratio of in and out, [M].

    The optimal test of the Poisson-subsampled Gaussian mechanism, of which a sum over steps is
    only an approximation.

    Args:
        h_TM: what each step released in the canary's own direction, in units of the clip norm: 1
            where the canary was in the batch, else 0, plus noise.
    """
    if noise_multiplier <= 0:
        return h_TM.sum(0)
    exponent = (2 * h_TM.astype(np.float64) - 1) / (2 * noise_multiplier**2)
    return np.logaddexp(
        math.log1p(-sample_rate) if sample_rate < 1 else -np.inf, math.log(sample_rate) + exponent
    ).sum(0)


def bounds(
    scores: Scores,
    member: Bools,
    claimed: tuple[float, float, int],
    delta: float,
    seed: int = 0,
    chance: float = CHANCE,
    alone: bool = True,
) -> list[Bound]:
    """Every bound on epsilon at `delta`, from the canaries' scores.

    Args:
        claimed: noise multiplier, sample rate and steps of the mechanism as it is claimed.
        chance: that a bound does not hold.
        alone: canaries are trials of their own; else only the bound that assumes nothing.
    """
    rehearsals = [_rehearse(member, claimed, seed * REHEARSALS + i) for i in range(REHEARSALS)]
    guesses = np.unique(np.maximum(1, (SHARES * len(member)).astype(int)))

    def at_best(bound: Callable[[Scores, Bools, NDArray], list[float]]) -> float:
        proven = np.mean([bound(*rehearsal, guesses) for rehearsal in rehearsals], axis=0)
        return bound(scores, member, guesses[[int(np.argmax(proven))]])[0]

    def by_guesses(
        bound: Callable[[int, int, int, float, float], float],
    ) -> Callable[[Scores, Bools, NDArray], list[float]]:
        return lambda s, m, g: [
            bound(len(m), int(k), _correct(s, m, int(k)), delta, chance) for k in g
        ]

    def by_rates(
        bound: Callable[[float, float, float], float],
    ) -> Callable[[Scores, Bools, NDArray], list[float]]:
        return lambda s, m, g: [bound(*_rates(s, m, int(k), chance), delta) for k in g]

    def sampled(s: Scores, m: Bools, g: NDArray) -> list[float]:
        return epsilon_sampled([_rates(s, m, int(k), chance) for k in g], claimed, delta)

    independent = "canaries are independent trials: their gradients are orthogonal"
    found = [
        Bound(
            "one run",
            at_best(by_guesses(epsilon_one_run)),
            "nothing (Steinke, Nasr and Jagielski 2023)",
        )
    ]
    if not alone:
        return found
    found += [
        Bound(
            "one run, f-DP",
            at_best(by_guesses(epsilon_one_run_fdp)),
            "its trade-off curve is that of Gaussian DP (Mahloujifar et al. 2024)",
        ),
        Bound("Clopper-Pearson", at_best(by_rates(epsilon_independent)), independent),
        Bound(
            "Gaussian DP",
            at_best(by_rates(epsilon_gaussian)),
            f"{independent}; its trade-off curve is that of Gaussian DP (Nasr et al. 2023)",
        ),
    ]
    if claimed[0] > 0:
        found.append(
            Bound(
                "sampled Gaussian",
                at_best(sampled),
                f"{independent}; it is Gaussian noise, of any deviation, on samples at the claimed "
                "rate (Nasr et al. 2023)",
            )
        )
    return found


def _rehearse(member: Bools, claimed: tuple[float, float, int], seed: int) -> tuple[Scores, Bools]:
    """Scores of as many canaries under the mechanism as claimed."""
    sigma, q, steps = claimed
    rng = np.random.default_rng(seed)
    scores = np.zeros(len(member))
    for _ in range(steps):
        drawn = member & (rng.random(len(member)) < q)
        h = drawn + rng.normal(size=len(member)) * sigma
        scores += likelihood(h[None], sigma, q)
    return scores, member


def _correct(scores: Scores, member: Bools, guesses: int) -> int:
    """How many of the `guesses` highest scores are of canaries that were in."""
    return int(member[np.argsort(-scores, kind="stable")[:guesses]].sum())


def _rates(
    scores: Scores, member: Bools, guesses: int, chance: float = CHANCE
) -> tuple[float, float]:
    """Upper bounds of the false positive and false negative rate, which both hold but by chance."""
    hits = _correct(scores, member, guesses)
    inside = int(member.sum())
    false_positive = clopper_pearson(guesses - hits, len(member) - inside, 1 - chance)[1]
    false_negative = 1 - clopper_pearson(hits, inside, 1 - chance)[0]
    return false_positive, false_negative


def epsilon_one_run(
    num_canaries: int, guesses: int, correct: int, delta: float, chance: float = 0.05
) -> float:
    """The greatest epsilon that so many correct guesses refute (Steinke et al. 2023, theorem 5.2).

    Under (epsilon, delta)-DP the number of correct guesses is, save for delta, no more than
    binomial with success rate e^epsilon / (1 + e^epsilon).
    """

    def excess(epsilon: float) -> float:
        p = 1 / (1 + math.exp(-epsilon))
        tail = binom.sf(correct - 1, guesses, p)
        if delta and correct:
            i = np.arange(1, correct + 1)
            gained = np.cumsum(binom.pmf(correct - i, guesses, p)) / i
            tail += 2 * num_canaries * delta * max(0.0, gained.max())
        return chance - float(tail)

    return _greatest(excess)


def epsilon_one_run_fdp(
    num_canaries: int, guesses: int, correct: int, delta: float, chance: float = 0.05
) -> float:
    """The same, where the mechanism is Gaussian DP (Mahloujifar et al. 2024, algorithm 2).

    Walks down from `correct` right guesses: were the chance of so many above `chance`, the curve
    would force more and more mass on lesser numbers, until it is more than there is.
    """

    def excess(epsilon: float) -> float:
        mu = mu_of(epsilon, delta)
        right = chance * correct / num_canaries
        wrong = chance * (guesses - correct) / num_canaries
        for i in range(correct - 1, -1, -1):
            forced = max(wrong, float(ndtr(ndtri(right) - mu)))
            if forced == wrong:
                break
            right = min(right + i / (guesses - i) * (forced - wrong), 1.0)
            wrong = forced
        return right + wrong - guesses / num_canaries

    return _greatest(excess) if correct else 0.0


def epsilon_independent(false_positive: float, false_negative: float, delta: float) -> float:
    """log((1 - delta - beta) / alpha), from either side (Kairouz et al. 2015)."""
    pairs = ((false_positive, false_negative), (false_negative, false_positive))
    return max(
        0.0, *(math.log((1 - delta - b) / a) if a > 0 and b < 1 - delta else 0.0 for a, b in pairs)
    )


def epsilon_gaussian(false_positive: float, false_negative: float, delta: float) -> float:
    """mu = Phi^-1(1 - alpha) - Phi^-1(beta), and its epsilon at `delta` (Nasr et al. 2023)."""
    mu = float(-ndtri(false_positive) - ndtri(false_negative))
    return epsilon_of(mu, delta) if mu > 0 else 0.0


def delta_of(epsilon: float, mu: float) -> float:
    """delta of mu-Gaussian DP at epsilon (Dong, Roth and Su 2022, corollary 2.13)."""
    tail = math.exp(epsilon + log_ndtr(-epsilon / mu - mu / 2))
    return float(ndtr(-epsilon / mu + mu / 2) - tail)


def epsilon_of(mu: float, delta: float) -> float:
    """epsilon of mu-Gaussian DP at `delta`."""
    if mu <= 0 or delta_of(0.0, mu) <= delta:
        return 0.0
    return float(brentq(lambda e: delta_of(e, mu) - delta, 0.0, mu * mu + 40 * mu + 1))


def mu_of(epsilon: float, delta: float) -> float:
    """The inverse of `epsilon_of`."""
    low, high = 1e-9, 2 * math.sqrt(2 * epsilon) + epsilon + 40
    return float(brentq(lambda mu: delta_of(epsilon, mu) - delta, low, high))


def _greatest(excess: Callable[[float], float]) -> float:
    """The greatest epsilon at which `excess` is positive, which then it is for all lesser ones."""
    if excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while excess(high) > 0:
        low, high = high, 2 * high
        if high > MAX_EPSILON:
            return MAX_EPSILON
    return float(brentq(excess, low, high, xtol=1e-4))
