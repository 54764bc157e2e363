"""The release of a mean: no vector moves the sum by more than the clip, exactly."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.cipher import Key
from privacy.dp import grid as grid_room
from privacy.dp.grid import Grid, Sum, most_steps, whole
from privacy.errors import SettingsError

KEY = Key.of("test")


def whole_of_three(vector):
    return whole(vector, Grid.of(1.0, 3))


def exact_square(whole):
    """Of the norm of whole numbers, in Python's integers."""
    return sum(int(n) ** 2 for n in whole)


@given(
    seed=st.integers(0, 1 << 30),
    size=st.sampled_from([1, 2, 3, 17, 500, 4097]),
    exponent=st.integers(-330, 300),
    clip=st.sampled_from([1e-30, 1.4e-12, 0.01, 0.1, 1 / 3, 1.0, 7.7, 1e6]),
    spread=st.sampled_from([0, 20, 300]),
)
@settings(max_examples=150, deadline=None)
def test_one_client_more_moves_the_sum_by_at_most_the_clip(seed, size, exponent, clip, spread):
    """Exactly, for vectors of any size of numbers: large, subnormal, of all sizes together."""
    rng = np.random.default_rng(seed)
    grid = Grid.of(clip, size)
    before, after = Sum(grid), Sum(grid)
    with np.errstate(all="ignore"):
        for _ in range(3):
            others = rng.normal(size=size) * clip
            before.add(others)
            after.add(others)
        one = rng.normal(size=size) * 10.0 ** (exponent - rng.integers(0, spread + 1, size))
    after.add(one)
    assert exact_square(after.total - before.total) <= most_steps(grid) ** 2
    assert np.array_equal(after.total - before.total, whole(one, grid))


@pytest.mark.parametrize("clip", [0.01, 1.0])
def test_what_is_over_the_clip_is_at_the_clip_and_what_is_under_it_stays(clip):
    rng = np.random.default_rng(0)
    direction = rng.normal(size=1000)
    direction /= np.linalg.norm(direction)
    grid = Grid.of(clip, 1000)
    far = whole(1e30 * direction, grid) * grid.step
    np.testing.assert_allclose(far, clip * direction, atol=2 * grid.step)
    near = whole(0.5 * clip * direction, grid) * grid.step
    np.testing.assert_allclose(near, 0.5 * clip * direction, rtol=0, atol=grid.step)
    assert (np.abs(near) <= np.abs(0.5 * clip * direction)).all()  # towards zero


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_norm_that_is_no_number_is_over_any_bound(odd):
    assert not whole_of_three(np.array([1.0, odd, 0.0])).any()
    huge = whole_of_three(np.full(3, 1.7e308))  # its norm overflows
    np.testing.assert_allclose(huge * Grid.of(1.0, 3).step, 1 / math.sqrt(3), rtol=1e-4)


def test_a_vector_of_another_size_is_refused():
    with pytest.raises(ValueError, match="not \\[3\\]"):
        whole_of_three(np.zeros(4))


def test_without_the_margin_rounding_exceeds_the_clip(monkeypatch):
    """The sabotage that the property is for: numbers rounded to the nearest."""
    monkeypatch.setattr(grid_room, "MARGIN", 0.0)
    monkeypatch.setattr(np, "trunc", np.rint)
    rng = np.random.default_rng(0)
    grid = Grid.of(1.0, 50)
    vectors = rng.normal(size=(200, 50)) * 9
    over = [exact_square(whole(v, grid)) > most_steps(grid) ** 2 for v in vectors]
    assert any(over)


def test_the_mean_lies_on_the_grid_whatever_the_sum():
    """Its low bits are those of whole numbers, and tell nothing (Mironov 2012)."""
    grid = Grid.of(1.0, 1000)
    some = Sum(grid)
    some.add(np.random.default_rng(0).normal(size=1000))
    steps = some.mean(1.0, KEY, 4) / (grid.step / 4)
    assert np.array_equal(steps, np.rint(steps))


def test_the_noise_is_as_wide_as_the_multiplier_says():
    grid = Grid.of(0.5, 200_000)
    noise = Sum(grid).mean(3.0, KEY, 10)
    assert noise.std() == pytest.approx(3.0 * 0.5 / 10, rel=0.01)
    assert abs(noise.mean()) < 5 * 0.15 / math.sqrt(200_000)
    assert np.array_equal(noise, Sum(grid).mean(3.0, KEY, 10))
    assert not Sum(grid).mean(0.0, KEY, 10).any()


def test_other_sums_have_other_digests():
    one, other = Sum(Grid.of(1.0, 3)), Sum(Grid.of(1.0, 3))
    assert one.digest == other.digest
    other.total[1] += 1
    assert one.digest != other.digest


def test_more_noise_than_whole_numbers_is_refused():
    with pytest.raises(SettingsError, match="noise_multiplier = 1e\\+300: too much"):
        Sum(Grid.of(1.0, 10)).mean(1e300, KEY, 1)
