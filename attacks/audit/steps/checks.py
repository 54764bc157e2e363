"""What a check of a step that is not ours says, and whether the claimed numbers fit together.

Each check is red of one correct step in 10,000 at most, or says why it was not made. One that the
function gives no handle for is *impossible*, and one that the claim gives no number for is *not
applicable*: neither is passed.
"""

import math
from dataclasses import dataclass
from functools import cache

from attacks.audit.steps.claims import Claims

LEVEL = 1e-4
HUGE = 1e4  # by which a record is made loud
ALL = "replace all"
STATES = ("passed", "FAILED", "not applicable", "impossible")


@dataclass(frozen=True)
class Check:
    """One check: what was measured, what it should be, what a failure usually means.

    Attributes:
        state: one of `STATES`.
    """

    name: str
    state: str
    measured: str
    expected: str = ""
    meaning: str = ""


def decided(name: str, passed: bool, measured: str, expected: str, meaning: str) -> Check:
    return Check(name, STATES[0] if passed else STATES[1], measured, expected, meaning)


def impossible(name: str, option: str) -> Check:
    return Check(name, STATES[3], f"the function takes no {option}")


def accounting(claims: Claims) -> Check:
    """Is the claimed epsilon one that noise, rate and steps come to?"""
    numbers = (claims.noise_multiplier, claims.sample_rate, claims.steps)
    if claims.epsilon is None or None in numbers:
        return Check("accounting", STATES[2], "epsilon, or what it comes from, is not claimed")
    found = epsilon_claimed(claims)
    return decided(
        "accounting",
        claims.epsilon >= 0.98 * found,
        f"claimed {claims.epsilon:.3f}, by dp-accounting {found:.3f}",
        "claimed at least 0.98 of dp-accounting's",
        "an accountant of another rate, other noise or fewer steps",
    )


def epsilon_claimed(claims: Claims) -> float:
    """What noise, rate and steps come to, where all three are claimed."""
    sigma, rate, steps = claims.noise_multiplier, claims.sample_rate, claims.steps
    assert None not in (sigma, rate, steps)
    twice = claims.neighbours == ALL or (claims.neighbours != "add or remove" and rate == 1)
    return epsilon_of(sigma / 2 if twice else sigma, rate, steps, claims.delta)  # type: ignore


@cache  # of many audits under one claim
def epsilon_of(sigma: float, rate: float, steps: int, delta: float) -> float:
    """Of Poisson-subsampled Gaussian steps, by Google's dp-accounting; add or remove one."""
    if sigma <= 0:
        return math.inf
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma))
    accountant = PLDAccountant()
    accountant.compose(dp_event.SelfComposedDpEvent(step, steps))
    return float(accountant.get_epsilon(delta))
