"""What sampled Gaussian noise lets an adversary tell apart, and so: how little noise there is.

An adversary whose errors are smaller than some noise allows has shown that there is less of it. The
trade-off curve is that of the accounted mechanism itself (Nasr et al. 2023, section 5), not of
Gaussian DP, which is but its limit over many steps and understates its tails.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LEAST, MOST, CURVES = 0.4, 2.5, 11  # times the claimed noise: what is tried
INTERVAL = 4e-3  # of the discretised privacy loss
TILTS = np.linspace(0.0, 30.0, 200)  # epsilons at which a curve is known


def epsilon_sampled(
    errors: Iterable[tuple[float, float]], claimed: tuple[float, float, int], delta: float
) -> list[float]:
    """Epsilon at `delta` of the most noise that each pair of error rates refutes; 0 if none.

    Args:
        errors: upper bounds of false positive and false negative rates.
        claimed: noise multiplier, sample rate and steps; the latter two are taken as they are.
    """
    sigma, rate, steps = claimed
    factors = np.geomspace(MOST, LEAST, CURVES)  # from much noise to little
    curves = [_curve(float(sigma * f), rate, steps, delta) for f in factors]
    found = []
    for alpha, beta in errors:
        gaps = np.array([lowest(alpha, deltas) - beta for deltas, _ in curves])
        refuted = np.flatnonzero(gaps > 0)
        if not len(refuted):
            found.append(0.0)
            continue
        last = int(refuted[-1])  # the least of the noises that are refuted
        epsilon = curves[last][1]
        if (
            last + 1 < CURVES and gaps[last + 1] <= 0
        ):  # between two curves the gap is all but linear
            share = gaps[last] / (gaps[last] - gaps[last + 1])
            epsilon += 0.9 * share * (curves[last + 1][1] - epsilon)
        found.append(epsilon)
    return found


def lowest(alpha: float, deltas: NDArray[np.float64]) -> float:
    """The least false negative rate beside `alpha`, where `deltas` are those of `TILTS`.

    The envelope of all lines of (epsilon, delta)-DP (Dong, Roth and Su 2022, proposition 2.12).
    """
    tilt = np.exp(TILTS)
    lines = np.maximum(1 - deltas - tilt * alpha, (1 - deltas - alpha) / tilt)
    return float(max(0.0, lines.max()))


@lru_cache(maxsize=256)
def _curve(
    sigma: float, rate: float, steps: int, delta: float
) -> tuple[NDArray[np.float64], float]:
    """delta at each of `TILTS`, and epsilon at `delta`, by Google's dp-accounting."""
    from dp_accounting.pld import privacy_loss_distribution as losses

    one = losses.from_gaussian_mechanism(
        sigma, sampling_prob=rate, value_discretization_interval=INTERVAL
    )
    all_steps = one.self_compose(steps)
    epsilon = float(all_steps.get_epsilon_for_delta(delta))
    return np.asarray(all_steps.get_delta_for_epsilon(TILTS)), min(epsilon, math.inf)
