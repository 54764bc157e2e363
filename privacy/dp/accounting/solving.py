"""The noise that meets an epsilon."""

import math
from collections.abc import Callable
from functools import lru_cache

from privacy.dp.accounting.gaussian import mu_of
from privacy.dp.accounting.memo import recalled
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import SettingsError

LEAST_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER = 1e-3, 1e4
NEAR = 2e-3  # of log(epsilon): how far below the target what is found may spend
FLAT = 0.05  # log(epsilon) over log(sigma): a slope from which no secant step comes back


@lru_cache(maxsize=256)
def solve_noise_multiplier(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The least noise multiplier with which `steps` steps stay within `epsilon`.

    Found to a thousandth of itself, from above: `epsilon_spent` of the result is <= `epsilon`. At
    least `LEAST_NOISE_MULTIPLIER`, also where delta alone hides everything.

    Raises:
        SettingsError: of no noise multiplier up to 10,000 is it known to be enough.
    """

    def spent(sigma: float) -> float:
        return Ledger([Spent(sigma, sample_rate, steps)]).epsilon(delta)

    def solve() -> float:
        guess = _guess(epsilon, delta, sample_rate, steps)
        return _by_secants(spent, epsilon, guess) or _by_halving(spent, epsilon) or 0.0

    # What was found before on this machine is asked of the accountant once, and not sought again.
    found = recalled(f"noise {epsilon!r} {delta!r} {sample_rate!r} {steps}", solve)
    if not _meets(spent, epsilon, found):
        found = solve()
    if not found:
        raise SettingsError(
            f"[budget] epsilon = {epsilon}: no noise_multiplier up to {MAX_NOISE_MULTIPLIER:g} is "
            f"known to be enough for {steps} steps at sample rate {sample_rate:g}; ask for fewer "
            "rounds or a larger epsilon"
        )
    Ledger([Spent(found, sample_rate, steps)]).within(epsilon, delta)  # noted, for whoever asks
    return found


def _meets(spent: Callable[[float], float], epsilon: float, sigma: float) -> bool:
    in_range = LEAST_NOISE_MULTIPLIER < sigma < MAX_NOISE_MULTIPLIER
    return in_range and -NEAR < math.log(max(spent(sigma), 1e-12) / epsilon) <= 0


def _by_secants(spent: Callable[[float], float], epsilon: float, sigma: float) -> float | None:
    """From a good guess, a few secant steps of log(epsilon) over log(sigma).

    None where that curve is no help: it ends in 0, or lies flat at what the accountant can see.
    """
    points: list[tuple[float, float]] = []
    for _ in range(30):
        if not LEAST_NOISE_MULTIPLIER < sigma < MAX_NOISE_MULTIPLIER:
            return None
        excess = math.log(max(spent(sigma), 1e-12) / epsilon)
        if -NEAR < excess <= 0:
            return sigma
        points.append((math.log(sigma), excess))
        slope = -1.3
        if len(points) > 1 and points[-1][0] != points[-2][0]:
            (x0, y0), (x1, y1) = points[-2:]
            steepness = (y1 - y0) / (x1 - x0)
            if len(points) > 3 and steepness > -FLAT:
                return None
            slope = min(max(steepness, -6.0), -0.3)
        sigma *= math.exp(-(excess + 0.4 * NEAR) / slope)
    return None


def _by_halving(spent: Callable[[float], float], epsilon: float) -> float | None:
    """Slow and sure: more noise never spends more. None if the most noise is not enough."""
    low, high = LEAST_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER
    if spent(low) <= epsilon:
        return low
    if spent(high) > epsilon:
        return None
    while high > (1 + NEAR / 2) * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high


def _guess(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """By the central limit (Bu et al. 2020): mu = q sqrt(T (exp(1/sigma^2) - 1)).

    It may understate epsilon.
    """
    mu = mu_of(epsilon, delta)
    return 1 / math.sqrt(math.log1p((mu / sample_rate) ** 2 / steps))
