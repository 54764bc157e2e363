"""After how many steps the owner refreshes the weights: by time and bytes, of a step.

More steps between two refreshes take a longer chain of primes, so a larger ring, and the server has
to do what the owner does at a refresh: sum each number of a gradient over all slots, by rotations.
Between them all is counted in favour of more steps: momentum's second set of weights is not, nor
the levels of the update.
"""

import math
from dataclasses import dataclass

from privacy.encrypted.learning.course import (
    DEGREE,
    PRIME_BITS,
    RESIDUAL_PRIMES,
    SPECIAL_BITS,
    Course,
)
from privacy.security import MOST_MODULUS_BITS

MOST_STEPS = 3  # that are compared: four would take more primes than any ring has
DEFLATED = 1.2  # bytes of a ciphertext as SEAL writes it, over those of its bits
# Milliseconds of a core, half way down the chain: python tests/benchmarks/learning.py deeper
PRODUCT_MS = {8192: 0.31, 16384: 0.96, 32768: 2.5}
SWITCH_MS = {8192: 1.7, 16384: 7.5, 32768: 24.4}


@dataclass(frozen=True)
class Refresh:
    """What a step takes, if weights are refreshed after so many.

    Attributes:
        steps: between two refreshes.
        degree: of the ring.
        step_bytes: up and down.
        server_s: of a core. link_s: of the link.
    """

    steps: int
    degree: int
    step_bytes: float
    server_s: float
    link_s: float

    @property
    def step_s(self) -> float:
        """Both."""
        return self.server_s + self.link_s


def refreshes(course: Course, link_mbit: float) -> list[Refresh]:
    """One for each number of steps, the fastest first; of the same time, the fewest bytes."""
    found = [_refresh(course, steps, link_mbit) for steps in range(1, MOST_STEPS + 1)]
    return sorted(found, key=lambda one: (one.step_s, one.step_bytes))


def column_bytes(residual: bool) -> float:
    """Of a block's column, or of its targets, which wait where the residual is."""
    bits = sum(PRIME_BITS[:RESIDUAL_PRIMES] if residual else PRIME_BITS)
    return DEFLATED * DEGREE / 8 * bits


def _refresh(course: Course, steps: int, link_mbit: float) -> Refresh:
    first, *each = PRIME_BITS
    bits = first + steps * sum(each)
    degree = min(d for d, most in MOST_MODULUS_BITS.items() if bits + SPECIAL_BITS <= most)
    degree = max(DEGREE, degree)
    sent = course.letters * DEFLATED * degree / 8 * (bits + 2 * first)  # up: half of it is a seed
    residuals = course.blocks * course.outputs
    products = 2 * residuals * course.features
    switches: float = residuals * (3 if course.cubic else 1) + course.numbers
    if course.packed:
        switches += 2 * course.letters * (course.leaves - 1)
    switches += (steps - 1) * course.numbers * math.log2(degree // 2) / steps
    return Refresh(
        steps=steps,
        degree=degree,
        step_bytes=sent / steps,
        server_s=(products * PRODUCT_MS[degree] + switches * SWITCH_MS[degree]) / 1e3,
        link_s=sent / steps * 8e-6 / link_mbit,
    )
