"""Noise in shares: each client's discrete Gaussian, and what is proved of their sum.

The sampler is that of Canonne, Kamath and Steinke (2020, algorithms 1 to 3): integers only, so that
the distribution is exact (but for magnitudes beyond 64 deviations, whose probability is below
2^-2900). Its bits are ChaCha20's keystream.

A sum of discrete Gaussians is not quite a discrete Gaussian (Kairouz, Liu and Steinke 2021):
theorem 1 there bounds the difference by tau = 10 sum_k exp(-2 pi^2 sigma^2 k/(k+1)), which for
the least deviation allowed here (16 grid units) is below 10^-1000, zero in double precision. The
discrete Gaussian satisfies the same concentrated DP, rho = 1 / (2 z^2) a step, as the continuous
one (Canonne et al., theorem 4), for updates of any direction. So epsilon here is that of rho-
zCDP, by Renyi orders chosen freely: a proof for the discrete case, some per cent above what the
PRV accountant says of the continuous one.
"""

import math
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import WORDS, Key, Words, stream
from privacy.compiling import compiled
from privacy.dp.accounting.spent import LEAST_NOISE, Spent, at_delta
from privacy.errors import SettingsError

LEAST, MOST = 16, 1 << 20  # deviations: for the bound on tau, and for 64-bit integers
REACH = 64  # deviations
LOG_ORDERS = -16.0, 30.0  # of Renyi orders less 1: epsilon from 10^-10 to 10^12
BUFFER = 64 * WORDS
RESERVE = 8192  # words, for the last draw: a draw uses some fifty

u64 = np.uint64


def epsilon_of_sum(entries: Iterable[Spent], delta: float) -> float:
    """Epsilon of steps whose noise was a sum of discrete Gaussians; `sample_rate` must be 1."""
    rho, entries = 0.0, tuple(entries)
    for entry in entries:
        if entry.sample_rate != 1:
            raise ValueError("no amplification by sampling is proved for shares of noise")
        if entry.steps:
            z = entry.noise_multiplier
            rho += entry.steps / (2 * z * z) if z >= LEAST_NOISE else math.inf
    return at_delta(entries, delta, partial(epsilon_of_zcdp, rho))


@lru_cache(maxsize=1024)
def epsilon_of_zcdp(rho: float, delta: float) -> float:
    """The least epsilon over Renyi orders (Canonne et al. 2020, proposition 12).

    0 where `delta` hides all: by Pinsker, outputs are within sqrt(rho / 2) of one another.
    """
    if rho == math.inf:
        return rho
    if math.sqrt(rho / 2) <= delta:
        return 0.0

    def bound(log_order: float) -> float:
        less_one = math.exp(log_order)
        order = less_one + 1
        return rho * order + math.log(less_one / order) - math.log(delta * order) / less_one

    from scipy.optimize import minimize_scalar  # for sums of many alone

    found = minimize_scalar(bound, bounds=LOG_ORDERS, method="bounded", options={"xatol": 1e-6})
    return max(0.0, float(found.fun))


@lru_cache(maxsize=256)
def solve_sum(epsilon: float, delta: float, steps: int) -> float:
    """The least noise multiplier with which `steps` sums stay within `epsilon`, from above.

    Raises:
        SettingsError: no noise is enough.
    """
    low, high = 1e-3, 1e6
    for _ in range(80):
        z = math.sqrt(low * high)
        if epsilon_of_zcdp(steps / (2 * z * z), delta) <= epsilon:
            high = z
        else:
            low = z
    if high >= 1e6 * (1 - 1e-9):
        raise SettingsError(
            f"[budget] epsilon = {epsilon}: no noise_multiplier up to 1e+06 is known to be enough "
            f"for {steps} rounds; ask for fewer rounds or a larger epsilon"
        )
    return high


def deviation_of_each(bits: int, members: int, honest: int, noise_multiplier: float) -> int:
    """The deviation of each member's noise, in grid units; the grid follows from it.

    As fine a grid as the words hold: the clipped updates of all, and 8 deviations of the sum.

    Raises:
        SettingsError: there is no such grid.
    """
    clip = math.sqrt(honest) / noise_multiplier  # of a client's norm, in its own deviations
    room = 2 ** (bits - 1) / (members * (clip + 1) + 8 * math.sqrt(members))
    deviation = min(MOST, int(min(room, 2.0**50 / clip)))
    if deviation < LEAST:
        raise SettingsError(
            f"[secure] bits = {bits}: too few for {members} clients at noise multiplier "
            f"{noise_multiplier:g}; use bits = 64"
        )
    return deviation


def discrete_gaussian(deviation: int, size: int, key: Key) -> NDArray[np.int64]:
    """Integers [size], each n with probability proportional to exp(-n^2 / (2 deviation^2)).

    Args:
        key: gives one and the same noise.
    """
    if not 1 <= deviation <= MOST:
        raise ValueError(f"deviation = {deviation}: 1 to {MOST}")
    out = np.empty(size, np.int64)
    words = np.empty(BUFFER, np.uint32)
    counter = done = 0
    while done < size:
        stream(key.words(), counter, words)
        counter += BUFFER // 16
        done = _fill(words, u64(deviation), out, done)
    return out


@compiled  # type: ignore[untyped-decorator]
def _fill(words: Words, sigma: Any, out: NDArray[np.int64], done: int) -> int:
    """Fill `out` from place `done` on until the words run low; returns how far it came.

    By rejection from a discrete Laplace distribution of scale sigma (algorithm 3, with t = sigma),
    accepted with probability exp(-(|y| - sigma)^2 / (2 sigma^2)).
    """
    state = np.zeros(1, np.int64)  # words used
    double = u64(2) * sigma * sigma
    while done < len(out) and state[0] < BUFFER - RESERVE:
        y = _laplace(words, state, sigma)
        size = u64(abs(y))
        if size <= u64(REACH) * sigma:
            away = size - sigma if size > sigma else sigma - size
            if _exponential(words, state, away * away, double):
                out[done] = y
                done += 1
    return done


@compiled  # type: ignore[untyped-decorator]
def _laplace(words: Words, state: NDArray[np.int64], t: Any) -> Any:
    """n with probability proportional to exp(-|n| / t) (algorithm 2)."""
    while True:
        u = _below(words, state, t)
        if not _small_exponential(words, state, u, t):
            continue
        v = u64(0)
        while _small_exponential(words, state, u64(1), u64(1)):
            v += u64(1)
        size = np.int64(u + t * v)
        if _word(words, state) & u64(1):
            if size == 0:
                continue
            return -size
        return size


@compiled  # type: ignore[untyped-decorator]
def _exponential(words: Words, state: NDArray[np.int64], a: Any, b: Any) -> bool:
    """True with probability exp(-a / b) (algorithm 1)."""
    while a > b:
        if not _small_exponential(words, state, u64(1), u64(1)):
            return False
        a -= b
    return _small_exponential(words, state, a, b)


@compiled  # type: ignore[untyped-decorator]
def _small_exponential(words: Words, state: NDArray[np.int64], a: Any, b: Any) -> bool:
    """True with probability exp(-a / b), a <= b: von Neumann's count of falling draws is even."""
    k = u64(1)
    while _below(words, state, b * k) < a:
        k += u64(1)
    return bool(k & u64(1))


@compiled  # type: ignore[untyped-decorator]
def _below(words: Words, state: NDArray[np.int64], bound: Any) -> Any:
    """A uniform integer below `bound` <= 2^62: by rejection, so that none is likelier."""
    if bound == u64(1):
        return u64(0)
    mask = bound - u64(1)
    for shift in (1, 2, 4, 8, 16, 32):
        mask |= mask >> u64(shift)
    while True:
        drawn = _word(words, state)
        if mask >> u64(32):
            drawn |= _word(words, state) << u64(32)
        drawn &= mask
        if drawn < bound:
            return drawn


@compiled  # type: ignore[untyped-decorator]
def _word(words: Words, state: NDArray[np.int64]) -> Any:
    """The next 32 bits of the buffer, which begins anew if a draw should outlast the reserve."""
    word = u64(words[state[0] % BUFFER])
    state[0] += 1
    return word
