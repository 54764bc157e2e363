"""What the best of a random number of trials costs (Papernot and Steinke 2022, arXiv 2110.03620).

A search trains again and again on the same records. If the number of trials is itself drawn, from
one of these distributions, and nothing is told but the best trial, then what is told is private at
a price that hardly grows with the number: by theorem 2 under a truncated negative binomial (shape 1
is the geometric distribution, shape 0 the logarithmic), by theorem 6 under Poisson's. Each trial is
drawn like every other, and the best is judged by nothing but the trial's own output.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import mpmath
import numpy as np
from numpy.typing import NDArray

from privacy.cipher import Key
from privacy.dp.accounting.parts import brentq
from privacy.dp.accounting.prv import ENOUGH_NOISE, LOST, quiet
from privacy.dp.accounting.spent import LEAST_NOISE, Spent
from privacy.dp.opacus import compute_rdp, get_privacy_spent

# Finer than the ledger's: two orders are chosen here, and both bounds move with them.
ORDERS = np.array([
    *(1 + i / 20 for i in range(1, 20)), *(2 + i / 10 for i in range(80)), *range(10, 64),
    *(64, 72, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1024),
])  # fmt: skip
LEAST_GAMMA = 1e-6  # a truncated negative binomial may need as many as 88 / gamma trials
UNIFORM_BYTES = 16  # of the draw: trials of less probability than 2^-128 are never drawn
DIGITS = 256  # bits

Curve = NDArray[np.float64]  # Renyi divergence at each of `ORDERS`


@dataclass(frozen=True)
class Trials:
    """How the number of trials is drawn.

    Attributes:
        mean: > 1; of Poisson's, >= 1.
        shape: eta > -1 of the truncated negative binomial; infinite is Poisson's.
    """

    mean: float
    shape: float

    @property
    def poisson(self) -> bool:
        """Of the two kinds, the one that may draw no trial at all."""
        return self.shape == math.inf

    @property
    def gamma(self) -> float:
        """Of the truncated negative binomial: the one with this mean; 0 if it is below 1e-12."""
        least = math.log(1e-12)
        if math.log(mean_of(math.exp(least), self.shape)) < math.log(self.mean):
            return 0.0
        found = brentq(
            lambda x: math.log(mean_of(math.exp(x), self.shape) / self.mean),
            least, -1e-15, xtol=1e-15, rtol=1e-14,
        )  # fmt: skip
        return math.exp(found)

    def count(self, key: Key) -> int:
        """A draw of the number, by inversion, in 256 bits.

        Args:
            key: of this draw alone; as secret as it is, so secret is the number.
        """
        with mpmath.workprec(DIGITS):
            word = int.from_bytes(key.value[:UNIFORM_BYTES], "big")
            left = (mpmath.mpf(word) + mpmath.mpf(0.5)) / (1 << 8 * UNIFORM_BYTES)
            if self.poisson:
                k, chance = 0, mpmath.exp(-mpmath.mpf(self.mean))
            else:
                k, chance = 1, self._once()
            less = 1 - mpmath.mpf(0 if self.poisson else self.gamma)
            while left > chance:
                left -= chance
                ratio = self.mean if self.poisson else less * (k + self.shape)
                chance *= ratio / mpmath.mpf(k + 1)
                k += 1
            return k

    def _once(self) -> mpmath.mpf:
        """The chance of one trial (definition 1 there)."""
        gamma, shape = mpmath.mpf(self.gamma), mpmath.mpf(self.shape)
        if not shape:
            return (1 - gamma) / -mpmath.log(gamma)
        return (1 - gamma) * shape / (gamma**-shape - 1)

    def charge(self, curve: Curve) -> Curve:
        """The Renyi divergence of the best trial, from that of one.

        Args:
            curve: of one trial, at each of `ORDERS`; of several kinds, the greatest.
        """
        less_one = ORDERS - 1
        with quiet():
            if self.poisson:
                hat = np.log1p(1 / less_one)
                lost = np.array([delta_of(curve, epsilon) for epsilon in hat])
                return np.asarray(curve + self.mean * lost + math.log(self.mean) / less_one)
            gamma = self.gamma
            hat = (1 - 1 / ORDERS) * curve - math.log(gamma) / ORDERS
            mean = mean_of(gamma, self.shape)
            return np.asarray(curve + (1 + self.shape) * hat.min() + math.log(mean) / less_one)


def mean_of(gamma: float, shape: float) -> float:
    """Of the truncated negative binomial (definition 1 there); 0 < gamma < 1, shape > -1."""
    log = math.log(gamma)
    if not shape:
        return math.expm1(-log) / -log
    return shape * math.expm1(-log) / -math.expm1(shape * log)


def curve_of(entries: Iterable[Spent]) -> Curve:
    """Renyi divergence of all that was spent, at each of `ORDERS`.

    True as well of shares of discrete Gaussian noise, whose `sample_rate` is 1 (Canonne, Kamath and
    Steinke 2020, theorem 4).
    """
    total = np.zeros(len(ORDERS))
    for entry in entries:  # of noise that is off, nothing is proved for the best of many
        if entry.divergence or (entry.steps and entry.noise_multiplier < LEAST_NOISE):
            return np.full(len(ORDERS), np.inf)
        sigma = min(entry.noise_multiplier, ENOUGH_NOISE)
        with quiet():
            found = compute_rdp(
                q=entry.sample_rate, noise_multiplier=sigma, steps=1, orders=list(ORDERS)
            )
        total += entry.steps * (np.maximum(found, 0.0) + LOST)
    return total


def epsilon_of_curve(curve: Curve, delta: float) -> float:
    """Epsilon at `delta` of a Renyi curve (Balle et al. 2020, theorem 21)."""
    if not np.isfinite(curve).any():
        return math.inf
    with quiet():
        return max(0.0, float(get_privacy_spent(orders=ORDERS, rdp=curve, delta=delta)[0]))


def delta_of(curve: Curve, epsilon: float) -> float:
    """Delta at `epsilon` of a Renyi curve (Canonne, Kamath and Steinke 2020, proposition 12)."""
    less_one = ORDERS - 1
    log = less_one * (curve - epsilon) - np.log(less_one) + ORDERS * np.log1p(-1 / ORDERS)
    return min(1.0, math.exp(min(0.0, float(log.min()))))
