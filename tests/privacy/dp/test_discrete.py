"""Shares of noise: the sampler against theory, the accounting against two libraries."""

import math

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld.privacy_loss_distribution import from_discrete_gaussian_mechanism
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, norm

from privacy.cipher import Key
from privacy.dp.discrete import (
    LEAST,
    MOST,
    deviation_of_each,
    discrete_gaussian,
    epsilon_of_sum,
    solve_sum,
)
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import SettingsError
from privacy.sums.fixed_point import FixedPoint, most_of


def key(seed):
    return Key.of("noise", seed)


def tail_free(deviation, reach):
    """Probabilities of -reach ... reach under the discrete Gaussian, the tails in the last two."""
    n = np.arange(-40 * deviation, 40 * deviation + 1, dtype=np.float64)
    weights = np.exp(-(n**2) / (2 * deviation**2))
    weights /= weights.sum()
    middle = weights[np.abs(n) <= reach].copy()
    middle[0] += weights[n < -reach].sum()
    middle[-1] += weights[n > reach].sum()
    return middle


@pytest.mark.parametrize("deviation", [1, 2, 3, 7, 20])
def test_the_sampler_is_exact(deviation):
    """Chi-square of 300,000 draws over every integer within three deviations."""
    size, reach = 300_000, 3 * deviation
    drawn = discrete_gaussian(deviation, size, key(deviation))
    counts = np.bincount(np.clip(drawn, -reach, reach) + reach, minlength=2 * reach + 1)
    expected = tail_free(deviation, reach)
    assert chisquare(counts, expected * size).pvalue > 0.001
    # the test can fail: a rounded continuous Gaussian of a deviation 3 % off is found out
    other = np.rint(np.random.default_rng(0).normal(0, 1.03 * deviation, size)).astype(int)
    wrong = np.bincount(np.clip(other, -reach, reach) + reach, minlength=2 * reach + 1)
    assert chisquare(wrong, expected * size).pvalue < 1e-6


@pytest.mark.parametrize("deviation", [LEAST, 4096, MOST])
def test_large_deviations_are_gaussian_to_the_eye(deviation):
    """Chi-square over 200 equally likely cells; variance to within its own spread."""
    size = 200_000
    drawn = discrete_gaussian(deviation, size, key(1)) / deviation
    assert drawn.var() == pytest.approx(1, abs=4 * math.sqrt(2 / size))
    if deviation > LEAST:
        cells = np.searchsorted(norm.ppf(np.arange(1, 200) / 200), drawn)
        assert chisquare(np.bincount(cells, minlength=200)).pvalue > 0.001


def test_keys_make_the_noise():
    assert np.array_equal(discrete_gaussian(9, 500, key(5)), discrete_gaussian(9, 500, key(5)))
    assert not np.array_equal(discrete_gaussian(9, 500, key(5)), discrete_gaussian(9, 500, key(6)))
    assert not np.array_equal(
        discrete_gaussian(9, 500, Key.secret()), discrete_gaussian(9, 500, Key.secret())
    )
    whole = discrete_gaussian(9, 70_000, key(5))  # more than one buffer of the keystream
    assert np.array_equal(whole[:500], discrete_gaussian(9, 500, key(5)))
    with pytest.raises(ValueError, match="deviation = 0"):
        discrete_gaussian(0, 1, key(0))


@pytest.mark.parametrize(("z", "steps"), [(1.0, 1), (2.0, 10), (5.0, 20), (20.0, 300)])
def test_epsilon_bounds_the_discrete_mechanism(z, steps):
    """Above the exact epsilon of the discrete Gaussian in one dimension; not far above, and
    never below Google's Renyi accountant by more than its orders explain."""
    delta = 1e-5
    ours = epsilon_of_sum([Spent(z, 1.0, steps)], delta)
    exact = from_discrete_gaussian_mechanism(16 * z, sensitivity=16).self_compose(steps)
    assert exact.get_epsilon_for_delta(delta) <= ours
    assert ours < 1.15 * exact.get_epsilon_for_delta(delta)
    google = RdpAccountant().compose(SelfComposedDpEvent(GaussianDpEvent(z), steps))
    assert ours <= google.get_epsilon(delta) * (1 + 1e-9)
    assert Ledger([Spent(z, 1.0, steps)]).epsilon(delta) <= ours  # the continuous one, by PRV


def test_noise_is_solved_from_above():
    for epsilon, steps in ((1.0, 20), (8.0, 20), (0.1, 3)):
        z = solve_sum(epsilon, 1e-5, steps)
        assert 0.9999 * epsilon < epsilon_of_sum([Spent(z, 1.0, steps)], 1e-5) <= epsilon
    assert epsilon_of_sum([Spent(0.0, 1.0, 1)], 1e-5) == math.inf
    assert epsilon_of_sum([], 1e-5) == 0
    with pytest.raises(ValueError, match="sampling"):
        epsilon_of_sum([Spent(1.0, 0.5, 1)], 1e-5)
    with pytest.raises(SettingsError, match="no noise_multiplier up to"):
        solve_sum(1e-9, 1e-5, 10**6)


@settings(max_examples=60)
@given(st.integers(3, 2000), st.floats(0.05, 100), st.sampled_from([32, 64]), st.floats(0.51, 1.0))
def test_the_grid_holds_updates_and_noise(members, z, bits, share):
    """Clipped updates of all members and 8 deviations of their noise stay within the words."""
    honest = math.ceil(share * members)
    try:
        deviation = deviation_of_each(bits, members, honest, z)
    except SettingsError:
        assert bits == 32
        return
    clip_units = deviation * math.sqrt(honest) / z
    assert members * clip_units + 8 * deviation * math.sqrt(members) < 2 ** (bits - 1)
    assert clip_units <= most_of(bits, members)
    assert LEAST <= deviation <= MOST
    assert deviation * math.sqrt(honest) / clip_units == pytest.approx(z)


@given(st.integers(0, 1000), st.floats(0.01, 10))
def test_rounding_never_lengthens_a_clipped_update(seed, clip):
    """Towards zero: the norm on the grid is at most what the noise was solved for."""
    rng = np.random.default_rng(seed)
    update = rng.normal(size=300) * rng.choice([1e-6, 1, 1e6])
    grid = FixedPoint(32, 1000.0, clip, 3)
    words = grid.encode_noisy(update, clip, np.zeros(300, np.int64))
    whole = words[:-2].view(np.int32).astype(np.float64)
    assert np.linalg.norm(whole) <= clip * grid.scale
    assert list(words[-2:]) == [1, 0]
