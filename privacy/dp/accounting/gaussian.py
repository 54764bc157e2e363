"""Closed forms: of Gaussian noise without sampling, and of what is hidden by chance alone.

The accountant's grid has a step, and what is smaller than that it cannot see. These bounds need
none, so that an epsilon of 0, of 10^-6 or of 10^9 is told as well as one of 3.
"""

import math

from privacy.dp.accounting.parts import brentq, log_ndtr, ndtr

MOST_MU = 1e3  # beyond, float64 loses the difference that delta is, and a bound takes its place
LOST = 1e-15  # of a probability: what float64 may lose in the difference of two


def delta_of(mu: float, epsilon: float) -> float:
    """Of the Gaussian mechanism with sensitivity over deviation `mu` (Balle and Wang 2018, th. 8).

    Args:
        mu: > 0; of k steps, sqrt(sum of 1 / sigma^2), exactly (Dong, Roth and Su 2022).
    """
    return float(ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)))


def epsilon_of(mu: float, delta: float) -> float:
    """The inverse of `delta_of` in epsilon, from above; 0 where delta hides all there is."""
    if 2 * float(ndtr(mu / 2)) - 1 <= delta:
        return 0.0
    most = mu * mu / 2 + mu * math.sqrt(-2 * math.log(delta))  # by zCDP (Bun and Steinke 2016)
    if mu > MOST_MU or delta_of(mu, most) + LOST > delta:
        return most
    if delta_of(mu, 0.0) + LOST <= delta:
        return 0.0
    found = brentq(lambda e: delta_of(mu, e) + LOST - delta, 0.0, most, xtol=1e-15, rtol=1e-12)
    return min(most, float(found) * (1 + 1e-9))


def mu_of(epsilon: float, delta: float) -> float:
    """The `mu` at which `epsilon_of` is about `epsilon`: good to start from, never to report."""
    return float(
        brentq(
            lambda mu: delta_of(mu, epsilon) - delta,
            delta,
            2 * math.sqrt(epsilon) + 2 * epsilon + 20,
        )
    )


def distance(noise_multiplier: float, sample_rate: float, steps: int) -> float:
    """Total variation between what two neighbours release, at most; epsilon is 0 at such a delta.

    The lesser of two bounds. Steps add up: each tells the two apart with probability
    q (2 Phi(1 / (2 sigma)) - 1). And by Pinsker: the sampled step's divergence is at most
    log(1 + q^2 (exp(1 / sigma^2) - 1)), that of Renyi's order 2.
    """
    a_step = sample_rate * math.erf(1 / (2 * math.sqrt(2) * noise_multiplier))
    return min(steps * a_step, math.sqrt(steps * order_two(noise_multiplier, sample_rate) / 2))


def order_two(noise_multiplier: float, sample_rate: float) -> float:
    """Renyi divergence of order 2 between a sampled step with a record and one without."""
    inverse = (1 / noise_multiplier) ** 2
    if inverse > 500:  # exp would overflow: log(1 + q^2 (e^x - 1)) <= x
        return inverse
    return math.log1p(sample_rate**2 * math.expm1(inverse))
