"""The best Toeplitz matrix of so many bands, for sums of what is released (McKenna 2024).

Numbers of a Toeplitz matrix are coefficients of a power series: products of matrices are products
of series, modulo x^rounds. With C = c(x), noise of deviation 1 in C S + z is b(x) = 1 / ((1 - x)
c(x)) in the sums of the releases: after round t its variance is b_0^2 + ... + b_t^2, times |c|^2,
since the noise must be as large as a column of C is.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]

HORIZON = 4096  # rounds: what is best for these is all but best for more
STEPS, PAIRS, ENOUGH = 300, 12, 1e-12  # of L-BFGS


def product(a: Series, b: Series, size: int) -> Series:
    """a(x) b(x) mod x^size."""
    length = 1 << (len(a) + len(b) - 1).bit_length()
    found = np.fft.irfft(np.fft.rfft(a, length) * np.fft.rfft(b, length), length)
    return np.asarray(np.pad(found, (0, max(0, size - length)))[:size])


def inverse(c: Series, size: int) -> Series:
    """1 / c(x) mod x^size, by Newton's rule: twice as many terms each time."""
    found = np.array([1 / c[0]])
    while len(found) < size:
        more = min(size, 2 * len(found))
        off = -product(found, c[:more], more)
        off[0] += 2
        found = product(found, off, more)
    return found


def start(bands: int) -> Series:
    """The first terms of (1 - x)^(-1/2): best for the last sum, if all rounds are in one band
    (Fichtenberger, Henzinger and Upadhyay 2023)."""
    j = np.arange(1, bands)
    return np.cumprod(np.concatenate([[1.0], (2 * j - 1) / (2 * j)]))


def variances(c: Series, rounds: int) -> Series:
    """Of the noise in the sum of the releases after each round, where each unit's share is 1."""
    noise = np.cumsum(inverse(c, rounds))
    return np.cumsum(noise**2) * float(c @ c)


def loss(c: Series, rounds: int) -> tuple[float, Series]:
    """Mean variance of the sums over all rounds, and its gradient by c."""
    inverted = inverse(c, rounds)
    noise = np.cumsum(inverted)
    weight = np.arange(rounds, 0, -1) / rounds  # in so many of the sums is a coefficient
    norm, error = float(c @ c), float(weight @ noise**2)
    # b' = -b / c: what a change of c_j moves b_t by is -(b / c)_(t - j)
    by = product(noise, inverted, rounds)
    back = product((weight * noise)[::-1], by, rounds)[::-1][: len(c)]
    return norm * error, 2 * error * c - 2 * norm * back


@lru_cache(maxsize=16)
def optimal(rounds: int, bands: int) -> Series:
    """Coefficients of the best C of so many bands, [bands], of norm 1; by L-BFGS from `start`."""
    horizon = min(rounds, HORIZON)
    c = start(bands)
    value, slope = loss(c, horizon)
    moved: list[tuple[Series, Series]] = []
    for _ in range(STEPS if bands > 1 else 0):
        ahead = _direction(slope, moved)
        if not ahead @ slope < 0:
            ahead, moved = -slope, []
        size = 1.0 if moved else 0.1 / math.sqrt(float(slope @ slope) + 1e-30)
        while True:
            tried = c + size * ahead
            found, there = loss(tried, horizon)
            if found <= value + 1e-4 * size * float(ahead @ slope) or size < 1e-12:
                break
            size /= 2
        if not found < value * (1 - ENOUGH):
            break
        if (there - slope) @ (tried - c) > 0:
            moved = [*moved[1 - PAIRS :], (tried - c, there - slope)]
        c, value, slope = tried, found, there
    c = c / np.linalg.norm(c)
    c.flags.writeable = False
    return c


def _direction(slope: Series, moved: list[tuple[Series, Series]]) -> Series:
    """Nocedal's two loops."""
    q, shares = slope.copy(), []
    for s, y in reversed(moved):
        share = float(s @ q) / float(s @ y)
        q -= share * y
        shares.append(share)
    if moved:
        s, y = moved[-1]
        q *= float(s @ y) / float(y @ y)
    for (s, y), share in zip(moved, reversed(shares), strict=True):
        q += (share - float(y @ q) / float(s @ y)) * s
    return -q
