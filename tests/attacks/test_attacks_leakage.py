"""Figures and their intervals, against slow definitions, and at their nominal rate."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from attacks import leakage
from attacks.leakage import Figure


def sample(seed, inside=80, outside=60, shift=0.7, digits=None):
    rng = np.random.default_rng(seed)
    member = np.arange(inside + outside) < inside
    scores = rng.normal(size=len(member)) + shift * member
    return (scores if digits is None else scores.round(digits)), member


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 0, 1]))
def test_auc_and_tpr_are_their_definitions(seed, digits):
    scores, member = sample(seed, digits=digits)
    assert leakage.auc(scores, member) == pytest.approx(roc_auc_score(member, scores))
    for fpr in (0.0, 0.01, 0.05, 0.3):
        cuts = [c for c in scores if (scores[~member] > c).mean() <= fpr]
        best = max((scores[member] > c).mean() for c in cuts)
        assert leakage.tpr_at(scores, member, fpr) == pytest.approx(best)


def test_ties_gain_nothing():
    """All at one score: the attack accuses nobody, however many members are there."""
    scores, member = np.ones(100), np.arange(100) < 50
    assert leakage.tpr_at(scores, member, 0.01) == 0
    assert leakage.auc(scores, member) == 0.5


def test_roc_rises_to_one():
    scores, member = sample(3)
    rates = np.array(leakage.roc(scores, member))
    assert (np.diff(rates, axis=0) >= 0).all()
    assert rates[-1].tolist() == [1, 1]


def test_delong_covers_at_its_rate():
    """Of 400 samples, 95 % of the intervals hold the true AUC, and no more than chance miss."""
    truth = norm.cdf(0.7 / math.sqrt(2))
    held = 0
    for seed in range(400):
        figure = leakage.delong(*sample(seed))
        held += figure.low <= truth <= figure.high
    assert binomtest(held, 400, 0.95).pvalue > 1e-3


def test_delong_at_the_edge():
    figure = leakage.delong(*sample(0, shift=100.0))
    assert figure.value == figure.high == 1
    assert figure.low < 1


def test_the_interval_of_tpr_is_the_bootstrap():
    """Against a bootstrap that really redraws."""
    scores, member = sample(5, inside=600, outside=500, shift=1.5)
    rng = np.random.default_rng(0)
    inside, outside = scores[member], scores[~member]
    draws = [
        leakage.tpr_at(
            np.concatenate([rng.choice(inside, len(inside)), rng.choice(outside, len(outside))]),
            member,
            0.05,
        )
        for _ in range(3000)
    ]
    figure = leakage.tpr_interval(scores, member, 0.05, rng)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert figure.low == pytest.approx(low, abs=0.02)
    assert figure.high == pytest.approx(high, abs=0.02)


def test_records_seen_twice_are_one():
    """Each row repeated five times: by clusters the interval stays as wide, without it shrinks."""
    scores, member = sample(7)
    once = leakage.delong(scores, member)
    again, members = np.repeat(scores, 5), np.repeat(member, 5)
    clusters = np.repeat(np.arange(len(scores)), 5)
    rng = np.random.default_rng(0)
    held = leakage.bootstrap(leakage.area, again, members, rng, clusters)
    naive = leakage.delong(again, members)
    assert held.high - held.low == pytest.approx(once.high - once.low, rel=0.15)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.data())
def test_clopper_pearson_is_exact(of, data):
    hits = data.draw(st.integers(0, of))
    low, high = leakage.clopper_pearson(hits, of)
    exact = binomtest(hits, of).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high))


def test_empirical_epsilon_of_randomised_response():
    """A score that tells the truth with odds e^2 proves less than 2, and more than 1.7 here."""
    rng = np.random.default_rng(0)
    member = rng.random(40_000) < 0.5
    truthful = rng.random(len(member)) < math.e**2 / (1 + math.e**2)
    scores = np.where(truthful, member, ~member).astype(float)
    assert 1.7 < leakage.empirical_epsilon(scores, member, (0.5, True), 0.0) < 2
    assert 1.7 < leakage.empirical_epsilon(scores, member, (0.5, False), 0.0) < 2


def test_measure_takes_thresholds_from_the_trials_alone():
    scores, member = sample(1, 300, 300)
    found = leakage.measure("x", scores, member, trials=[sample(2, 300, 300), sample(3, 300, 300)])
    assert 0.5 < found.balanced_accuracy.value < 0.75
    useless = [(np.full(600, 100.0) + np.arange(600), member)]
    assert leakage.measure("x", scores, member, trials=useless).balanced_accuracy.value == 0.5
    assert leakage.measure("x", scores, member).balanced_accuracy is None
    assert found.tpr_at_0_1_percent is None  # 300 non-members do not tell
    many = leakage.measure("x", *sample(4, 50, 10_000))
    assert isinstance(many.tpr_at_0_1_percent, Figure)
