"""Epsilon at its edges: tiny and huge rates, noises, deltas, against other accountants."""

import math

import mpmath
import pytest
from dp_accounting.pld import privacy_loss_distribution as losses
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.dp.accounting import solving
from privacy.dp.accounting.gaussian import distance, epsilon_of
from privacy.dp.accounting.prv import epsilon_path, epsilon_spent
from privacy.dp.accounting.solving import solve_noise_multiplier
from privacy.dp.budget import Budget
from privacy.dp.discrete import epsilon_of_sum, solve_sum
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import SettingsError

DELTAS = st.floats(-12, math.log10(0.5)).map(lambda x: min(10.0**x, 0.5))


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    """Of ten, evenly by their exponent."""
    return st.floats(low, high).map(lambda x: 10.0**x)


def peer(entry: Spent, delta: float, interval: float = 1e-4) -> float:
    """Epsilon from below, by Google's privacy loss distributions on a grid fine enough."""
    one = losses.from_gaussian_mechanism(
        entry.noise_multiplier,
        sampling_prob=entry.sample_rate,
        pessimistic_estimate=False,
        value_discretization_interval=interval,
    )
    return float(one.self_compose(entry.steps).get_epsilon_for_delta(delta))


@settings(max_examples=12, deadline=None)
@given(sigma=powers(-0.5, 3), rate=powers(-9, 0), steps=st.integers(1, 20), delta=DELTAS)
def test_epsilon_is_never_negative_and_never_below_another_accountants(sigma, rate, steps, delta):
    """Wherever dp-accounting answers; its optimistic bound is the lower end."""
    entry = Spent(sigma, rate, steps)
    epsilon = epsilon_spent((entry,), delta)
    assert 0 <= epsilon < math.inf
    assert epsilon >= peer(entry, delta) * (1 - 1e-6) - 1e-9


def delta_in_40_digits(sigma: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8: of one step without sampling."""
    with mpmath.workdps(40):
        mu, e = 1 / mpmath.mpf(sigma), mpmath.mpf(epsilon)
        more = mpmath.exp(e) * mpmath.ncdf(-mu / 2 - e / mu)
        return float(mpmath.ncdf(mu / 2 - e / mu) - more)


@settings(max_examples=60, deadline=None)
@given(sigma=powers(-1, 5), delta=DELTAS)
def test_without_sampling_it_is_the_closed_form(sigma, delta):
    """In 40 digits: what is told is enough, and where it is small, a hundredth less is not."""
    spent = epsilon_spent((Spent(sigma, 1.0, 1),), delta)
    exact = epsilon_of(1 / sigma, delta)
    for found in (spent, exact):
        assert delta_in_40_digits(sigma, found) <= delta * (1 + 1e-6)
    assert not exact or delta_in_40_digits(sigma, 0.99 * exact - 1e-9) > delta * (1 - 1e-3)
    if exact < 0.08:  # there the accountant's slack would be more than what was spent
        assert spent == pytest.approx(exact, rel=5e-3, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    sigma=st.just(0.0) | powers(-300, 300),
    rate=powers(-300, 0),
    steps=st.integers(1, 2**53 - 1),
    delta=DELTAS,
)
def test_whatever_a_device_may_say_it_has_spent_has_an_epsilon(sigma, rate, steps, delta):
    """All that `Ledger.from_json` takes: no error, no negative number, no NaN."""
    ledger = Ledger.from_json(Ledger([Spent(sigma, rate, steps)]).to_json())
    assert ledger.epsilon(delta) >= 0
    assert ledger.renyi_epsilon(delta) >= 0
    path = epsilon_path(sigma, rate, steps, delta)
    assert path(0) == 0
    assert path(steps) >= 0
    assert epsilon_of_sum([Spent(sigma, 1.0, steps)], delta) >= 0


def test_a_delta_that_hides_all_leaves_no_epsilon():
    """By hand: 5 deviations of noise, one step: total variation 2 Phi(0.1) - 1 = 0.0797."""
    entry = Spent(5.0, 1.0, 1)
    assert distance(5.0, 1.0, 1) == pytest.approx(0.0797, abs=1e-4)
    assert epsilon_spent((entry,), 0.5) == epsilon_spent((entry,), 0.08) == 0
    assert epsilon_spent((entry,), 0.0796) > 0
    assert Budget(epsilon=1.0, delta=0.5).solve(1e-9, 1).noise_multiplier == 1e-3
    assert epsilon_of_sum([entry], 0.5) == 0


def test_hardly_any_noise_is_not_taken_for_some():
    """By hand: who is sampled, one time in 10^9, is found out with a loss of 1 / (2 sigma^2)."""
    found = epsilon_spent((Spent(1e-3, 1e-9, 1),), 1e-12)
    assert 4.9e5 < found < 5.5e5
    assert epsilon_spent((Spent(0.02, 0.25, 8),), 1e-5) > 8000


def test_a_tiny_epsilon_is_more_than_slack():
    """0.0025 of a sampled step was 0.0043: the grid is as fine as the epsilon needs."""
    for entry in (Spent(20.0, 0.02, 10), Spent(200.0, 1.0, 1), Spent(50.0, 0.1, 30)):
        true = peer(entry, 1e-5, 1e-6)
        assert true <= epsilon_spent((entry,), 1e-5) <= 1.02 * true + 2e-5


SOLVED = [
    (1e-6, 0.5, 1e-9, 1),
    (1e-3, 1e-5, 1e-9, 10_000),
    (0.01, 1e-5, 1.0, 1),
    (0.1, 0.5, 0.01, 1000),
    (1.0, 0.5, 1.0, 10),
    (1.0, 1e-12, 0.01, 100),
    (1e4, 1e-5, 0.01, 100),
    (1e9, 1e-12, 1.0, 1),
]


@pytest.mark.parametrize(("epsilon", "delta", "rate", "steps"), SOLVED, ids=str)
def test_noise_is_found_at_the_edges(epsilon, delta, rate, steps):
    """It meets the epsilon, and a hundredth less of it does not, unless there is hardly any."""
    sigma = solve_noise_multiplier(epsilon, delta, rate, steps)
    assert epsilon_spent((Spent(sigma, rate, steps),), delta) <= epsilon
    if sigma > solving.LEAST_NOISE_MULTIPLIER:
        assert epsilon_spent((Spent(0.99 * sigma, rate, steps),), delta) > epsilon


@settings(max_examples=8, deadline=None)
@given(epsilon=powers(-6, 9), delta=DELTAS, rate=powers(-9, 0), steps=st.integers(1, 100))
def test_noise_is_found_or_refused_in_a_line(epsilon, delta, rate, steps):
    """Of any settings: never an overspent budget, never another error."""
    most = Spent(solving.MAX_NOISE_MULTIPLIER, rate, steps)
    budget = Budget(epsilon=epsilon, delta=delta)
    if epsilon_spent((most,), delta) > epsilon:
        with pytest.raises(SettingsError, match=r"^[^\n]*fewer rounds or a larger epsilon$"):
            budget.solve(rate, steps)
    else:
        sigma = budget.solve(rate, steps).noise_multiplier
        assert epsilon_spent((Spent(sigma, rate, steps),), delta) <= epsilon


@settings(max_examples=100, deadline=None)
@given(epsilon=powers(-6, 9), delta=DELTAS, rounds=st.integers(1, 10**6))
def test_noise_of_sums_is_found_or_refused_in_a_line(epsilon, delta, rounds):
    """Likewise of discrete noise; its epsilon is at least the continuous one's, which is exact."""
    if epsilon_of_sum([Spent(1e6, 1.0, rounds)], delta) > epsilon:
        with pytest.raises(SettingsError, match=r"^[^\n]*fewer rounds or a larger epsilon$"):
            solve_sum(epsilon, delta, rounds)
        return
    found = solve_sum(epsilon, delta, rounds)
    spent = epsilon_of_sum([Spent(found, 1.0, rounds)], delta)
    assert spent <= epsilon
    if (mu := math.sqrt(rounds) / found) < 100:
        assert epsilon_of(mu, delta) <= spent * (1 + 1e-6) + 1e-9
