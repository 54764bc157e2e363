"""Banded noise against dense matrices, every pattern of participation, and published errors."""

from fractions import Fraction
from itertools import combinations, pairwise
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.cipher import Key
from privacy.dp.banded.factors import inverse, loss, optimal, start, variances
from privacy.dp.banded.matrix import UNIT, Banded, Matrix, matrix, nearest
from privacy.dp.noise import MOST_DEVIATION, Noise

# (rounds, bands): root of the mean and of the greatest variance of the sums, and of the mean where
# columns are scaled to one norm, by jax_privacy at commit 8967688c26d46f3b74bfdfe61ef1f984b887abab:
# toeplitz.optimize_banded_toeplitz (1,000 steps, float64), .loss, .inverse_as_streaming_matrix.
PUBLISHED = {
    (20, 2): (2.50384370584654, 3.357749302397429, 2.500097335443606),
    (20, 10): (1.8529157047241271, 2.2111339557977048, 1.8242856309434612),
    (20, 20): (1.8183238301454556, 2.08688880943993, 1.7801106918358256),
    (128, 8): (3.4328248088542748, 4.565679450712826, 3.4269720739800302),
    (128, 16): (2.872554121861891, 3.6645135315101203, 2.859822426264083),
    (200, 10): (3.812288670567399, 5.0872021936636855, 3.807089617978353),
    (512, 64): (3.3041283638216865, 4.109120518490521, 3.2878651640290286),
    (2000, 40): (5.981450435408874, 8.032733725044608, 5.978053718141116),
    (2000, 1): (31.63068130786942, 44.721359549995796, 31.63068130786942),
}
FEW = [one for one in PUBLISHED if one[0] <= 512]


def dense(whole):
    """C, column by column."""
    found = np.zeros((whole.rounds, whole.rounds))
    for t in range(1, whole.rounds + 1):
        column = whole.below(t)
        found[t - 1 : t - 1 + len(column), t - 1] = column
    return found


@pytest.mark.parametrize("plan", PUBLISHED)
def test_errors_are_those_of_jax_privacy(plan):
    found = variances(optimal(*plan), plan[0])
    mean, greatest, _ = PUBLISHED[plan]
    assert found.mean() ** 0.5 == pytest.approx(mean, rel=1e-9)
    assert found[-1] ** 0.5 == pytest.approx(greatest, rel=1e-6)


@pytest.mark.parametrize("plan", FEW)
def test_whole_numbers_cost_next_to_nothing(plan):
    """The matrix that is used, its last columns scaled up, by its dense inverse."""
    whole = Matrix(*plan)
    sums = np.cumsum(np.linalg.inv(dense(whole)), axis=0) * whole.norm
    assert np.mean((sums**2).sum(1)) ** 0.5 == pytest.approx(PUBLISHED[plan][2], rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=0, max_size=6), st.integers(0, 9), st.integers(0, 99))
def test_series_are_their_dense_matrices(below, more, seed):
    rounds = 1 + len(below) + more
    c = np.array([1.5, *(np.array(below) / max(1, len(below)))])  # whose inverse fades
    rows = np.subtract.outer(np.arange(rounds), np.arange(rounds))
    whole = np.where((rows >= 0) & (rows < len(c)), c[np.clip(rows, 0, len(c) - 1)], 0.0)
    inverted = np.linalg.inv(whole)
    np.testing.assert_allclose(inverse(c, rounds), inverted[:, 0], rtol=1e-6, atol=1e-6)
    expected = (np.cumsum(inverted, axis=0) ** 2).sum(1) * (c**2).sum()
    np.testing.assert_allclose(variances(c, rounds), expected, rtol=1e-6, atol=1e-6)
    value, slope = loss(c, rounds)
    assert value == pytest.approx(expected.mean(), rel=1e-6)
    way = np.random.default_rng(seed).normal(size=len(c))
    ahead, back = (loss(c + h * way, rounds)[0] for h in (1e-6, -1e-6))
    assert slope @ way == pytest.approx((ahead - back) / 2e-6, rel=1e-3, abs=1e-3 * value)


def test_it_starts_at_the_square_root_of_all_sums():
    whole = np.array([np.pad(start(8), (t, 0))[:8] for t in range(8)]).T
    np.testing.assert_allclose(whole @ whole, np.tri(8))


@pytest.mark.parametrize("plan", [(1, 1), (5, 5), (7, 3), (20, 2), (60, 16)])
def test_no_column_is_longer_than_is_charged(plan):
    whole = Matrix(*plan)
    lengths = np.linalg.norm(dense(whole), axis=0)
    assert (lengths <= whole.norm * (1 + 1e-15)).all()
    assert (lengths >= whole.norm * (1 - 2 / UNIT)).all()
    rows = [whole.row(t) for t in range(1, plan[0] + 1)]
    for t, row in enumerate(rows):
        assert row == dense(whole)[t, max(0, t - plan[1] + 1) : t + 1][::-1].tolist()


@pytest.mark.parametrize(("rounds", "bands"), [(6, 2), (7, 3), (8, 8)])
def test_clients_that_keep_their_turn_cost_what_independent_noise_costs(rounds, bands):
    """Every pattern, with updates of norm one in random directions; nearer ones cost more."""
    whole = Matrix(rounds, bands)
    c = dense(whole) / whole.norm
    rng = np.random.default_rng(0)
    nearer = 0.0
    for num in range(1, rounds + 1):
        for taken in combinations(range(rounds), num):
            apart = min((b - a for a, b in pairwise(taken)), default=bands)
            same = np.zeros((rounds, 4))
            same[list(taken), 0] = 1.0
            other = rng.normal(size=same.shape) * (same[:, :1] > 0)
            other /= np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-12)
            most = max(float(np.square(c @ u).sum()) for u in (same, other))
            if apart >= bands:
                assert most <= num * (1 + 1e-12)
            else:
                nearer = max(nearer, most / num)
    assert nearer > 1.5


@pytest.mark.parametrize("plan", [(1, 1), (6, 1), (6, 3), (5, 5), (12, 4)])
def test_releases_are_a_function_of_the_noisy_product(plan):
    """What is released is what rounding makes of C S + z, whatever the sums: to the last bit."""
    whole, size, deviation = Matrix(*plan), 40, 3.0
    rng = np.random.default_rng(1)
    sums = rng.integers(-1000, 1000, (plan[0], size))
    keys = [Key.of("round", t) for t in range(plan[0])]
    banded = Banded(whole)
    noise = np.array([banded.draw(deviation, key, size) for key in keys])
    own = np.array([Noise(key).integers(deviation * whole.norm, size) for key in keys])
    columns = dense(whole).astype(np.int64)
    product = columns @ sums + own
    released = np.zeros_like(sums)
    for t in range(plan[0]):
        for i in range(size):
            left = product[t, i] - int(columns[t, :t] @ released[:t, i])
            released[t, i] = floor(Fraction(left, int(columns[t, t])) + Fraction(1, 2))
    assert np.array_equal(released, sums + noise)
    assert (2 * np.abs(columns @ noise - own) <= np.diag(columns)[:, None]).all()


def test_it_goes_on_where_it_was():
    whole, keys = Matrix(9, 3), [Key.of(t) for t in range(9)]
    banded = Banded(whole)
    rows = [banded.draw(50.0, key, 5) for key in keys]
    for done in range(1, 9):
        later = Banded(whole, done + 1, rows[max(0, done - 2) : done])
        assert np.array_equal(later.draw(50.0, keys[done], 5), rows[done])
    with pytest.raises(ValueError, match="noise of rounds before it is missing"):
        Banded(whole, 4, rows[2:3])
    known = {Banded(whole, 4, before).digest for before in (rows[1:3], rows[:2])}
    assert len(known | {Banded(Matrix(9, 2), 4, rows[1:3]).digest}) == 3
    assert Banded(whole, 4, rows[:3]).digest == Banded(whole, 4, rows[1:3]).digest


def test_one_band_is_independent_noise():
    assert matrix(10, 1) is None
    assert Banded(Matrix(10, 2)).most(1 << 20) == MOST_DEVIATION / (1 << 20) / Matrix(10, 2).norm


@given(st.integers(-(2**50), 2**50), st.integers(1, 2**12), st.integers(-(2**20), 2**20))
def test_nearest_carries_multiples_through(number, divisor, times):
    (found,) = nearest(np.array([number]), divisor)
    assert found == floor(Fraction(number, divisor) + Fraction(1, 2))
    (more,) = nearest(np.array([number + times * divisor]), divisor)
    assert more == found + times
