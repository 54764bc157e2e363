"""Lower bounds on epsilon: against definitions, other libraries, and mechanisms that are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from attacks.audit import canaries
from privacy.dp.ledger import Ledger, Spent

# epsilon_one_run_fdp and epsilon_one_run at 95 % and delta 1e-5 of jax-privacy 2.0.0, for m
# canaries, g guesses and c of them correct; measured with that library, which is not a dependency.
YARDSTICK = [
    (1000, 100, 95, 3.3233, 2.1652),
    (1000, 300, 230, 1.5870, 0.9581),
    (4000, 50, 50, 3.5067, 2.6698),
    (200, 200, 150, 1.7348, 0.8211),
    (1000, 100, 50, 0.0, 0.0),
]


@pytest.mark.parametrize(("m", "g", "c", "fdp", "plain"), YARDSTICK)
def test_one_run_bounds_are_those_of_the_yardstick(m, g, c, fdp, plain):
    assert canaries.epsilon_one_run_fdp(m, g, c, 1e-5) == pytest.approx(fdp, abs=2e-4)
    assert canaries.epsilon_one_run(m, g, c, 1e-5) == pytest.approx(plain, abs=2e-4)


def test_one_run_without_delta_is_a_binomial_test():
    """At the bound, so many correct guesses have a chance of exactly 5 %."""
    epsilon = canaries.epsilon_one_run(500, 200, 160, 0.0)
    chance = binom.sf(159, 200, 1 / (1 + math.exp(-epsilon)))
    assert chance == pytest.approx(0.05, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 12), st.sampled_from([1e-6, 1e-5, 1e-3]))
def test_gaussian_dp_there_and_back(epsilon, delta):
    mu = canaries.mu_of(epsilon, delta)
    assert canaries.epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-5)
    # Corollary 2.13 is an integral: P(L > eps) - e^eps P(L' > eps) of the privacy loss.
    loss = norm(mu**2 / 2, mu)
    other = norm(-(mu**2) / 2, mu)
    direct = loss.sf(epsilon) - math.exp(epsilon) * other.sf(epsilon)
    assert direct == pytest.approx(delta, rel=1e-5)


def test_bounds_of_rates():
    assert canaries.epsilon_independent(0.01, 0.2, 0.0) == pytest.approx(math.log(0.8 / 0.01))
    assert canaries.epsilon_independent(0.2, 0.01, 0.0) == pytest.approx(math.log(0.8 / 0.01))
    assert canaries.epsilon_independent(0.7, 0.7, 0.0) == 0
    alpha, mu = 0.05, 1.7
    beta = norm.cdf(norm.isf(alpha) - mu)
    expected = canaries.epsilon_of(mu, 1e-5)
    assert canaries.epsilon_gaussian(alpha, beta, 1e-5) == pytest.approx(expected, rel=1e-6)


def scores_of(sigma, q, steps, seed, num=2000):
    rng = np.random.default_rng(seed)
    member = rng.random(num) < 0.5
    scores = np.zeros(num)
    for _ in range(steps):
        drawn = member & (rng.random(num) < q)
        scores += canaries.likelihood((drawn + rng.normal(size=num) * sigma)[None], sigma, q)
    return scores, member


def test_likelihood_is_the_ratio_of_densities():
    h = np.array([[0.3, -1.0], [2.0, 0.0]])
    sigma, q = 0.8, 0.2
    inside = q * norm.pdf(h, 1, sigma) + (1 - q) * norm.pdf(h, 0, sigma)
    ratio = np.log(inside / norm.pdf(h, 0, sigma)).sum(0)
    assert canaries.likelihood(h, sigma, q) == pytest.approx(ratio)
    whole = np.log(norm.pdf(h, 1, sigma) / norm.pdf(h, 0, sigma)).sum(0)
    assert canaries.likelihood(h, sigma, 1.0) == pytest.approx(whole)


def test_bounds_hold_for_the_gaussian_mechanism(monkeypatch):
    """Where epsilon is known exactly, a 95 % bound exceeds it in few of 40 audits."""
    monkeypatch.setattr(canaries, "REHEARSALS", 1)
    delta, sigma = 1e-5, 1.2
    truth = canaries.epsilon_of(1 / sigma, delta)
    above = dict.fromkeys([b.name for b in _bounds(sigma, 0, delta)], 0)
    best = []
    for seed in range(40):
        found = _bounds(sigma, seed, delta)
        best.append(found[-1].epsilon)
        for bound in found:
            above[bound.name] += bound.epsilon > truth
    assert all(count <= 6 for count in above.values()), above  # 2 expected: p(> 6) = 0.3 %
    assert np.median(best) > 0.5 * truth


def _bounds(sigma, seed, delta):
    scores, member = scores_of(sigma, 1.0, 1, seed, num=1000)
    return canaries.bounds(scores, member, (sigma, 1.0, 1), delta)


def test_nothing_is_proven_of_scores_that_know_nothing(monkeypatch):
    monkeypatch.setattr(canaries, "REHEARSALS", 1)
    proven = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        member = rng.random(500) < 0.5
        found = canaries.bounds(rng.normal(size=500), member, (1.0, 1.0, 1), 1e-5)
        proven += max(b.epsilon for b in found) > 0
    assert proven <= 9  # five bounds at 5 %, which look at the same scores


def test_a_sampled_gaussians_own_curve_proves_more_than_that_of_gaussian_dp(monkeypatch):
    """And no more than is true: of 20 audits at 95 %, few exceed it, and most come near."""
    monkeypatch.setattr(canaries, "REHEARSALS", 1)
    claimed, delta = (1.0, 0.25, 20), 1e-5
    truth = Ledger([Spent(*claimed)]).epsilon(delta)
    shares = []
    for seed in range(20):
        scores, member = scores_of(*claimed, seed, num=4000)
        found = {b.name: b.epsilon for b in canaries.bounds(scores, member, claimed, delta)}
        shares.append([found["sampled Gaussian"] / truth, found["Gaussian DP"] / truth])
    sampled, gaussian = zip(*shares, strict=True)
    assert sum(share > 1 for share in sampled) <= 4  # 1 expected: p(> 4) = 0.3 %
    assert 0.7 < np.median(sampled) <= 1
    assert np.median(gaussian) < np.median(sampled)


def test_less_noise_than_claimed_is_refuted():
    """Half the noise, and the curve of the claim does not hold: the bound exceeds it."""
    claimed = (1.0, 0.25, 20)
    scores, member = scores_of(0.5, 0.25, 20, 0, num=4000)
    found = canaries.bounds(scores, member, claimed, 1e-5, chance=1e-4)
    assert found[-1].name == "sampled Gaussian"
    assert found[-1].epsilon > Ledger([Spent(*claimed)]).epsilon(1e-5)
