"""Opacus's PRV analysis (Gopi, Lee and Wutschitz 2021): privacy loss random variables of the
Poisson-subsampled Gaussian mechanism, under add-or-remove-one adjacency, composed by FFT.

Its upper bound is what is reported. Loads Opacus, and with it torch.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.dp.accounting.gaussian import distance, epsilon_of, order_two
from privacy.dp.accounting.spent import LEAST_NOISE, Spent, at_delta
from privacy.dp.opacus import (
    DiscretePRV,
    Domain,
    PoissonSubsampledGaussianPRV,
    TruncatedPrivacyRandomVariable,
    compose_heterogeneous,
    compute_rdp,
    discretize,
    get_privacy_spent,
)

RELATIVE_ERROR = 0.004  # of epsilon: how far the PRV upper bound may stand above the estimate
ABSOLUTE_ERROR = 5e-4  # of epsilon, likewise: a finer grid is for an epsilon that needs it
TINY = 0.1  # an epsilon: a share of the Renyi bound, where that is loose, is a tenth of it
ENOUGH_NOISE = 1e100  # more counts as this, likewise
FINE_POINTS = 1 << 19
LOST = 2.0**-50  # of a step's Renyi divergence, in float64
MOST_LOSS = 700.0  # of a privacy loss: exp of more is infinite, and Opacus's bound then too low
MOST_POINTS = 1 << 24  # of a PRV's grid; a million steps at epsilon 8 take about one million
RDP_ORDERS = (*range(2, 64), 80, 128, 256, 512)  # whole ones: the fractional are slow,
LOW_NOISE_ORDERS = (1.05, 1.1, 1.25, 1.5, 1.75)  # and matter where epsilon is in the hundreds


@lru_cache(maxsize=4096)
def epsilon_spent(
    entries: tuple[Spent, ...], delta: float, relative_error: float = RELATIVE_ERROR
) -> float:
    """Epsilon of the composition of `entries`: the PRV accountant's upper bound.

    Args:
        entries: the mechanisms, each with its number of steps.
        delta: as in (epsilon, delta)-DP.
        relative_error: numerical slack that the bound may contain; smaller is slower.
    """
    entries = tuple(entry for entry in entries if entry.steps)
    if not entries:
        return 0.0
    if any(entry.noise_multiplier < LEAST_NOISE for entry in entries):
        return math.inf
    return at_delta(entries, delta, lambda left: _epsilon_at(entries, left, relative_error))


def _epsilon_at(entries: tuple[Spent, ...], delta: float, relative_error: float) -> float:
    """Of exact noise."""
    if sum(distance(e.noise_multiplier, e.sample_rate, e.steps) for e in entries) <= delta:
        return 0.0
    try:
        prvs, error = _discretise(entries, delta, relative_error)
    except (OverflowError, RuntimeError, ValueError):
        prvs, error = [], math.inf
    return _epsilon_of(prvs, entries, delta, error)


def renyi_epsilon(entries: tuple[Spent, ...], delta: float) -> float:
    """By Renyi orders: looser, and true for discrete Gaussians where q = 1."""
    spent = tuple(entry for entry in entries if entry.steps)
    if any(entry.noise_multiplier < LEAST_NOISE for entry in spent):
        return math.inf
    return at_delta(spent, delta, lambda left: _rdp_epsilon(spent, left)) if spent else 0.0


def _epsilon_of(
    prvs: list[DiscretePRV], entries: tuple[Spent, ...], delta: float, error: float
) -> float:
    # All bounds hold, so the least does. Where epsilon is tiny, or so large that nothing is left
    # to protect, the search over the PRV's finite grid can fail, or its error dominates.
    bound = _rdp_epsilon(entries, delta)
    unsampled = all(entry.sample_rate == 1 for entry in entries)
    if unsampled:
        mu = math.sqrt(sum(e.steps * (1 / e.noise_multiplier) ** 2 for e in entries))
        exact = epsilon_of(mu, delta)
        if exact < TINY or not ABSOLUTE_ERROR < error < math.inf:
            bound = min(bound, exact)
    if not prvs:
        return bound
    try:
        with quiet():
            composed = compose_heterogeneous(prvs, [entry.steps for entry in entries])
            found = float(composed.compute_epsilon(delta, delta / 1000, error)[2])
            return max(0.0, min(bound, found))
    except (RuntimeError, ValueError):
        return bound


def _discretise(
    entries: tuple[Spent, ...], delta: float, relative_error: float
) -> tuple[list[DiscretePRV], float]:
    """One discrete PRV for a step of each entry, on a grid good for all their steps.

    As Opacus's PRVAccountant does, but with the RDP bounds on the grid's reach (Gopi et al.,
    remark 5.6) taken over fewer orders, which is safe, since it only widens the grid, and ten
    times faster.

    Returns:
        The discrete PRVs, and the absolute error of epsilon for which they are good.

    Raises:
        OverflowError: hardly any noise: the losses leave float64, or the grid would take gigabytes,
            which nobody may ask of a device by naming a sigma.
        RuntimeError, ValueError: Opacus cannot integrate it.
    """
    delta_error = delta / 1000
    steps = sum(entry.steps for entry in entries)
    ones = [(Spent(e.noise_multiplier, e.sample_rate, 1),) for e in entries]
    most = _rdp_epsilon(entries, delta)
    reach = 3 + max(
        ABSOLUTE_ERROR,
        _rdp_epsilon(entries, delta_error / 4),
        *(_rdp_epsilon(one, delta_error / (8 * steps)) for one in ones),
    )
    if reach - math.log(min(entry.sample_rate for entry in entries)) > MOST_LOSS:
        raise OverflowError("nothing left to protect")
    a_step = math.sqrt(steps * math.log(12 / delta_error) / 2)
    error = min(max(relative_error * most, ABSOLUTE_ERROR), 1.0)
    if error == ABSOLUTE_ERROR:
        told = epsilon_of(math.sqrt(sum(e.steps * _divergence(e) for e in entries)), delta)
        error = min(error, max(relative_error * told, 2 * reach * a_step / FINE_POINTS))
    mesh = error / a_step
    if not 2 * reach / mesh < MOST_POINTS:
        raise OverflowError("hardly any noise")
    domain = Domain.create_aligned(-reach, reach, mesh)
    with quiet():
        return [
            discretize(
                TruncatedPrivacyRandomVariable(
                    PoissonSubsampledGaussianPRV(e.sample_rate, e.noise_multiplier),
                    domain.t_min,
                    domain.t_max,
                ),
                domain,
            )
            for e in entries
        ], error


def _divergence(entry: Spent) -> float:
    """Of a step: mu^2 by the central limit, as far as a grid's fineness depends on it."""
    return order_two(entry.noise_multiplier, entry.sample_rate)


def _rdp_epsilon(entries: tuple[Spent, ...], delta: float) -> float:
    """Epsilon by Renyi DP: always a bound, often a loose one."""
    total: Any = sum(e.steps * _rdp_of_a_step(e.noise_multiplier, e.sample_rate) for e in entries)
    orders = [*LOW_NOISE_ORDERS, *RDP_ORDERS]
    with quiet():
        return max(0.0, float(get_privacy_spent(orders=orders, rdp=total, delta=delta)[0]))


@lru_cache(maxsize=1024)
def _rdp_of_a_step(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    noise_multiplier = min(noise_multiplier, ENOUGH_NOISE)

    def rdp(orders: tuple[float, ...]) -> NDArray[np.float64]:
        return np.asarray(
            compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=orders)
        )

    with quiet():
        low = rdp(LOW_NOISE_ORDERS) if noise_multiplier < 0.5 else np.full(5, np.inf)
        # what float64 takes for nothing in one step, a billion of them make something
        return np.maximum(np.concatenate([low, rdp(RDP_ORDERS)]), 0.0) + LOST


@contextmanager
def quiet() -> Iterator[None]:
    """Overflow in far tails, and "optimal order is the largest alpha", only loosen the bound."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def epsilon_path(
    noise_multiplier: float, sample_rate: float, steps: int, delta: float
) -> Callable[[int], float]:
    """Epsilon after each k <= `steps` like steps, for progress: one PRV, discretised once.

    Each value is an upper bound, looser than `epsilon_spent` where k is much less than `steps`.
    """
    if noise_multiplier < LEAST_NOISE:
        return lambda k: math.inf if k else 0.0
    whole = (Spent(noise_multiplier, sample_rate, steps),)
    try:
        prvs, error = _discretise(whole, delta, 5 * RELATIVE_ERROR)
    except (OverflowError, RuntimeError, ValueError):
        return lambda k: epsilon_spent((Spent(noise_multiplier, sample_rate, k),), delta)

    @cache
    def epsilon_after(k: int) -> float:
        if k == 0:
            return 0.0
        entries = (Spent(noise_multiplier, sample_rate, k),)
        return min(_epsilon_of(prvs, entries, delta, error), epsilon_spent(whole, delta))

    return epsilon_after
