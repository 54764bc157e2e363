"""Oracles of a charged search, slow and obvious: Papernot and Steinke 2022, as it stands there."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import mpmath
import numpy as np
from scipy.integrate import quad


@cache
def chances(mean: float, shape: float, most: int) -> tuple[float, ...]:
    """Of 0, 1, ... `most` trials (definition 1; Poisson's where the shape is infinite)."""
    with mpmath.workdps(30):
        if shape == math.inf:
            m = mpmath.mpf(mean)
            found = [mpmath.exp(-m) * m**k / mpmath.factorial(k) for k in range(most + 1)]
        else:
            gamma = gamma_of(mean, shape)
            found = [mpmath.mpf(0)] + [_chance(k, gamma, shape) for k in range(1, most + 1)]
        return tuple(map(float, found))


def _chance(k: int, gamma: mpmath.mpf, shape: float) -> mpmath.mpf:
    if shape == 0:
        return (1 - gamma) ** k / (k * mpmath.log(1 / gamma))
    rising = mpmath.gammaprod([shape + k], [shape, k + 1])
    return (1 - gamma) ** k / (gamma**-shape - 1) * rising


@cache
def gamma_of(mean: float, shape: float) -> mpmath.mpf:
    """By halving: the mean falls as gamma grows."""
    with mpmath.workdps(30):
        low, high = mpmath.mpf("1e-12"), 1 - mpmath.mpf("1e-12")
        for _ in range(120):
            gamma = (low + high) / 2
            if shape == 0:
                found = (1 / gamma - 1) / mpmath.log(1 / gamma)
            else:
                found = shape * (1 - gamma) / (gamma * (1 - gamma**shape))
            low, high = (gamma, high) if found > mean else (low, gamma)
        return low


def step_divergence(order: float, sigma: float, rate: float) -> float:
    """Renyi divergence of a sampled Gaussian step, the greater of both ways, by integration."""

    def moment(power: float) -> float:
        """The mean of a power of mixed over plain density, under the plain one."""

        def integrand(x: float) -> float:
            plain = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
            ratio = np.logaddexp(math.log(1 - rate), math.log(rate) + (2 * x - 1) / (2 * sigma**2))
            return math.exp(plain + power * float(ratio))

        reach = 12 * sigma * math.sqrt(order) + order
        return float(
            quad(integrand, -reach, reach, limit=200, epsabs=0, epsrel=1e-9, points=[0, order])[0]
        )

    return math.log(max(moment(order), moment(1 - order))) / (order - 1)


def charged_epsilon(
    divergence: Callable[[float], float], orders: Sequence[float], mean: float, shape: float,
    delta: float,
) -> float:  # fmt: skip
    """Theorems 2 and 6 and the conversion to epsilon, word for word, every order against every."""
    one = [divergence(order) for order in orders]
    best = math.inf
    for order, rho in zip(orders, one, strict=True):
        if shape == math.inf:
            near = math.log(1 + 1 / (order - 1))
            lost = min(
                math.exp(min(700, (a - 1) * (r - near))) / (a - 1) * (1 - 1 / a) ** a
                for a, r in zip(orders, one, strict=True)
            )
            found = rho + mean * min(lost, 1) + math.log(mean) / (order - 1)
        else:
            gamma = float(gamma_of(mean, shape))
            second = min(
                (1 - 1 / a) * r + math.log(1 / gamma) / a for a, r in zip(orders, one, strict=True)
            )
            found = rho + (1 + shape) * second + math.log(mean) / (order - 1)
        # Balle et al. 2020, theorem 21
        told = found + math.log((order - 1) / order) - math.log(delta * order) / (order - 1)
        best = min(best, told)
    return best


def best_of(outputs: Sequence[float], mean: float, shape: float, most: int = 1200) -> np.ndarray:
    """The chance of each output to be the best, the later the better; last, that of no trial."""
    below = np.concatenate([[0.0], np.cumsum(outputs)])
    told = np.zeros(len(outputs) + 1)
    for k, chance in enumerate(chances(mean, shape, most)):
        if k == 0:
            told[-1] = chance
        else:
            told[:-1] += chance * np.diff(below**k)
    return told
