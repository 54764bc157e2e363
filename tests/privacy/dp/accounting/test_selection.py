"""The best of a random number of trials: what it costs, against other accountants and by hand."""

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from oracles_selection import best_of, chances, charged_epsilon, step_divergence

from privacy.cipher import Key
from privacy.dp.accounting.selection import (
    ORDERS,
    Trials,
    curve_of,
    delta_of,
    epsilon_of_curve,
    mean_of,
)
from privacy.dp.accounting.solving import solve_noise_multiplier
from privacy.dp.ledger import Spent

DELTA = 1e-5
MOST_ORDER = 30
KINDS = [(20, 1.0), (20, 0.0), (20, 0.5), (5, -0.5), (20, math.inf), (1, math.inf), (30, 1.0)]


def charged(entry: Spent, mean: float, shape: float) -> float:
    curve = Trials(mean, shape).charge(curve_of([entry]))
    return epsilon_of_curve(curve, DELTA)


@pytest.mark.parametrize(("mean", "shape"), [kind for kind in KINDS if kind[1] >= 0])
@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(1.0, 0.02, 1000), (3.0, 1.0, 10)])
def test_it_is_what_dp_accounting_says(mean, shape, epsilon, rate, steps):
    sigma = solve_noise_multiplier(epsilon, DELTA, rate, steps)
    event: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(sigma)
    if rate < 1:
        event = dp_accounting.PoissonSampledDpEvent(rate, event)
    event = dp_accounting.SelfComposedDpEvent(event, steps)
    google = RdpAccountant(list(ORDERS))
    google.compose(dp_accounting.dp_event.RepeatAndSelectDpEvent(event, mean, shape))
    found = charged(Spent(sigma, rate, steps), mean, shape)
    assert found == pytest.approx(google.get_epsilon(DELTA), rel=2e-3)


@pytest.mark.parametrize(("mean", "shape"), KINDS)
def test_it_is_what_the_theorems_say_of_the_gaussian(mean, shape):
    """The paper's own example: rho-zCDP, here on ten times as many orders, to 2 %."""
    sigma = solve_noise_multiplier(1.0, DELTA, 1.0, 1)
    orders = [1 + math.exp(x / 40) for x in range(-80, 280)]
    oracle = charged_epsilon(lambda a: a / (2 * sigma**2), orders, mean, shape, DELTA)
    found = charged(Spent(sigma, 1.0, 1), mean, shape)
    assert oracle * (1 - 1e-3) <= found <= oracle * 1.02


def test_a_trials_curve_is_the_integral():
    entry = Spent(1.1, 0.2, 7)
    curve = curve_of([entry, Spent(3.0, 1.0, 2)])
    for i in (10, 40, 99):
        one = step_divergence(ORDERS[i], 1.1, 0.2)
        assert curve[i] == pytest.approx(7 * one + 2 * ORDERS[i] / 18, rel=1e-6)


@pytest.mark.parametrize(("mean", "shape"), KINDS)
@pytest.mark.parametrize("flip", [0.1, 0.3])
def test_no_choice_tells_more_than_it_costs(mean, shape, flip):
    """What is told, summed over every number of trials, where the record moves the best output."""
    one = np.array([0.5, 0.3, 0.15, 0.05])
    other = one * np.array([1 - flip, 1.0, 1 + flip, 1.0])
    other /= other.sum()
    orders = ORDERS[ORDERS <= MOST_ORDER][:, None]  # of more, float64 loses the powers
    both = [
        np.log((p[None] ** orders * q[None] ** (1 - orders)).sum(1)) / (orders[:, 0] - 1)
        for p, q in ((one, other), (other, one))
    ]
    curve = np.full(len(ORDERS), np.inf)
    curve[: len(orders)] = np.maximum(*both)
    price = Trials(mean, shape).charge(curve)
    told, instead = best_of(one, mean, shape), best_of(other, mean, shape)
    assert told.sum() == pytest.approx(1, abs=1e-5)
    there = told > 0
    for p, q in ((told[there], instead[there]), (instead[there], told[there])):
        found = np.log((p[None] ** orders * q[None] ** (1 - orders)).sum(1)) / (orders[:, 0] - 1)
        assert (found <= price[: len(found)] + 1e-9).all()


@pytest.mark.parametrize(("mean", "shape"), KINDS)
def test_the_number_is_drawn_as_it_is_accounted(mean, shape):
    trials, num = Trials(mean, shape), 800
    drawn = np.array([trials.count(Key.of("test", i)) for i in range(num)])
    law = np.array(chances(mean, shape, 1200))
    assert law @ np.arange(len(law)) == pytest.approx(mean, rel=1e-3)
    furthest = max(abs((drawn <= k).mean() - law[: k + 1].sum()) for k in range(200))
    assert furthest < 1.63 / math.sqrt(num)  # Kolmogorov and Smirnov's, at 1 %
    assert trials.count(Key.of("test", 0)) == drawn[0]


def test_edges():
    assert mean_of(Trials(20, 1.0).gamma, 1.0) == pytest.approx(20, rel=1e-12)
    assert Trials(1e9, -0.9).gamma == 0
    assert epsilon_of_curve(curve_of([Spent(0.0, 1.0, 1)]), DELTA) == math.inf
    assert not curve_of([]).any()
    assert delta_of(np.full(len(ORDERS), np.inf), 1.0) == 1
