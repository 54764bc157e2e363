"""What is added up."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Total variation between a draw of `privacy.dp.noise` and the rounded Gaussian: the last bit of
# 256, at most 2^48 to one (the density in units of the radius, over all that it can be).
TOTAL_VARIATION = 2.0**-200
MOST_EXPONENT = 700.0  # of e in float64
LEAST_NOISE = 1e-9  # less is none: squares of its inverse would leave float64


@dataclass(frozen=True)
class Spent:
    """`steps` Poisson-subsampled Gaussian steps: sigma = noise_multiplier, q = sample_rate.

    Attributes:
        divergence: of all noise that was drawn for them from what it is accounted as, at most: KL,
            in nats. 0 but on boards, whose samplers are not exact.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    divergence: float = 0.0


def at_delta(entries: Iterable[Spent], delta: float, exact: Callable[[float], float]) -> float:
    """Epsilon of steps whose noise is a little off, by an accountant of exact noise.

    What is (e, d)-DP but for noise `off` in total variation is (e, d + (1 + exp(e)) off)-DP.
    Divergences add up, even of noise that is chosen by what came before, and `off` is at most
    the root of half of their sum (Pinsker).

    Args:
        exact: epsilon at a delta.
    """
    off = math.sqrt(sum(entry.divergence for entry in entries) / 2)
    if not off:
        return exact(delta)
    told = exact(delta)
    for most in (1.01 * told + 0.01, 1.1 * told + 0.1):
        left = delta - (1 + math.exp(min(most, MOST_EXPONENT))) * off
        if left > 0 and (found := exact(left)) <= most:
            return found
    return math.inf
