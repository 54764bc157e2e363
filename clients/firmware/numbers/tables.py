"""The sampler's tables, and a bound of what it is off.

What is drawn is floor(sigma Z), sigma = 2^bits and Z normal: n and -1 - n for n >= 0, each with
half the probability of n under a density F(n) = exp(-(n + 1/2)^2 / (2 sigma^2)) over its sum. For a
whole number S, S + floor(sigma Z) = floor(S + sigma Z): what is released is a function of the
continuous Gaussian mechanism, and is accounted for as that. (F is the density in the middle of a
step, whose ratio to the integral over it is 1 within (x^2 + 1) / (24 sigma^2), x = n / sigma.)

The area under F is stacked with bricks of the mass 2^-12 and the width sigma / 32, as many in each
strip as fit below its lower end. A word of 32 bits names a brick and a place in it; of what no
brick covers, the words that name none are drawn by rejection from 128 strips, and beyond 4 sigma by
a geometric proposal. Bricks are exact; the rest is computed in 62 bits.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import numpy as np
from numpy.typing import NDArray

BRICK_BITS, STRIPS_A_SIGMA, STRIPS = 12, 32, 128
LEAST_BITS, MOST_BITS = 8, 20
UNIT = 1 << 62
OFF = 2.0**-57  # of the exponential, absolute: six products rounded down, three tables, a series
DIGITS = 60

# E[1 / F] over what is drawn by rejection, 4 sigma wide, and E of the tail's, 12 sigma wide:
# integral of exp(x^2 / 2) over its normalisation, and sum of exp(x^2 / 2 - 8) 4^-g over its strips.
BODY_CHI, TAIL_CHI = 1024.0, 2.0**16


class Tables(NamedTuple):
    """What noise.c reads.

    Attributes:
        strip: of each brick, uint8 [bricks].
        coarse, fine: exp(-i / 16) and exp(-i / 2048) in 2^-63, [128] each. `eight`: exp(-8), 2^-64.
        height: of the bricks in each strip, in 2^-62, [128].
        bound: of what stands above them, in 2^-32 of the proposal, [128].
        shift: the proposal's height: `F - height` times 2^shift is a probability in 2^-64.
        tail: probability that a draw that no brick covers is beyond 4 sigma, in 2^-64.
    """

    strip: NDArray[np.uint8]
    coarse: tuple[int, ...]
    fine: tuple[int, ...]
    eight: int
    height: tuple[int, ...]
    bound: tuple[int, ...]
    shift: int
    tail: int


@lru_cache(maxsize=1)
def tables() -> Tables:
    """One set for all deviations."""
    with mpmath.workdps(DIGITS):
        half = mpmath.sqrt(mpmath.pi / 2)  # of the area, in sigma
        brick = half * STRIPS_A_SIGMA / (1 << BRICK_BITS)
        counts = [int(mpmath.floor(_density(j + 1) / brick)) for j in range(STRIPS)]
        heights = [_whole(n * brick * UNIT) for n in counts]
        above = [_density(j) * UNIT - height for j, height in enumerate(heights)]
        below = [_density(j + 1) * UNIT - height for j, height in enumerate(heights)]
        if min(below) < UNIT * OFF:  # a difference that rounding could make negative
            raise ArithmeticError("a brick reaches up to the density")
        shift = 63 - int(mpmath.floor(mpmath.log(max(above), 2)))
        left = 1 - mpmath.mpf(sum(counts)) / (1 << BRICK_BITS)
        return Tables(
            strip=np.repeat(np.arange(STRIPS), counts).astype(np.uint8),
            coarse=tuple(_whole(mpmath.exp(-mpmath.mpf(i) / 16) * 2 * UNIT) for i in range(128)),
            fine=tuple(_whole(mpmath.exp(-mpmath.mpf(i) / 2048) * 2 * UNIT) for i in range(128)),
            eight=_whole(mpmath.exp(-8) * 4 * UNIT),
            height=tuple(heights),
            bound=tuple(int(a * 2**shift) >> 32 for a in above),
            shift=shift,
            tail=_whole(mpmath.erfc(4 / mpmath.sqrt(2)) / left * 4 * UNIT),
        )


def _density(strip: int) -> Any:
    return mpmath.exp(-((mpmath.mpf(strip) / STRIPS_A_SIGMA) ** 2) / 2)


def _whole(x: Any) -> int:
    return int(mpmath.nint(x))


def divergence(draws: float, bits: int) -> float:
    """KL in nats of so many draws from as many of floor(sigma Z), at most.

    Of one draw, the chi-squared divergence is the mean of the squared relative error. Where the
    error of F is at most OFF, that is OFF^2 E[1 / F^2] = OFF^2 sum(1 / F) / sum(F), over the
    body; of the tail the proposal's share 2^-g stands before it; of the middle of a step, at most
    (x^2 + 1)^2 / (24 sigma^2)^2, whose mean is below 6 / (24 sigma^2)^2. Errors of three origins:
    the square of their sum is at most three times the sum of their squares. KL is at most
    chi-squared, and adds up over draws even if each is chosen by what came before. What no draw
    reaches, beyond 12 sigma, is below 2^-107: its relative error is 1, and its mass is added.
    """
    middle = 6 / (24 * 4.0**bits) ** 2
    return draws * (3 * (OFF**2 * (BODY_CHI + TAIL_CHI) + middle) + 2.0**-106)
