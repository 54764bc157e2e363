"""Kernels for records abreast against einsum and plain sums, at sizes that no tile divides."""

import numba
import numpy as np
import pytest

from privacy.dp.kernels import lanes, tiles
from privacy.dp.kernels.tiles import ACROSS, DOWN, LANES


@numba.njit
def weigh(weights, down, x, across, along, stride, num, out, start, line):
    tiles.weigh(weights, down, x, across, along, stride, num, out, start, line)


@numba.njit
def meet(x, down, g, across, along, stride, num, out, start, line):
    tiles.meet(x, down, g, across, along, stride, num, out, start, line)


def abreast(rng, *shape):
    return rng.standard_normal((*shape, LANES)).astype(np.float32)


@pytest.mark.parametrize("num", [0, 1, 2, 13])
def test_a_tile_of_weights_is_its_sum_and_nothing_beside_it_is_written(num):
    rng = np.random.default_rng(num)
    weights = rng.standard_normal((DOWN, 13)).astype(np.float32)
    x, along = abreast(rng, 20), rng.permutation(13)
    down, across = np.arange(DOWN) * 13, rng.integers(0, 8, ACROSS)
    line = (ACROSS + 1) * LANES
    out = np.full(LANES + DOWN * line, np.nan, np.float32)
    weigh(weights.ravel(), down, x.ravel(), across * LANES, along * LANES, 1, num, out, LANES, line)
    rows = x[across[:, None] + along[:num]].astype(np.float64)
    expected = np.einsum("dt,atl->dal", weights[:, :num], rows)
    found = out[LANES:].reshape(DOWN, ACROSS + 1, LANES)
    np.testing.assert_allclose(found[:, :ACROSS], expected, rtol=1e-5, atol=1e-5)
    assert np.isnan(out[:LANES]).all()
    assert np.isnan(found[:, ACROSS:]).all()


@pytest.mark.parametrize("num", [0, 1, 7])
def test_a_tile_of_what_records_have_keeps_them_apart(num):
    rng = np.random.default_rng(num)
    x, g, along = abreast(rng, 20), abreast(rng, ACROSS, 7), rng.permutation(12)[:7]
    down, line = rng.integers(0, 8, DOWN), (DOWN + 1) * LANES
    out = np.full(ACROSS * line, np.nan, np.float32)
    across = np.arange(ACROSS) * 7 * LANES
    meet(x.ravel(), down * LANES, g.ravel(), across, along * LANES, LANES, num, out, 0, line)
    rows = x[down[:, None] + along[:num]].astype(np.float64)
    expected = np.einsum("dtl,atl->adl", rows, g[:, :num])
    found = out.reshape(ACROSS, DOWN + 1, LANES)
    np.testing.assert_allclose(found[:, :DOWN], expected, rtol=1e-5, atol=1e-5)
    assert np.isnan(found[:, DOWN:]).all()


@pytest.mark.parametrize("size", [0, 1, 3, LANES - 1, LANES, 3 * LANES + 5])
def test_squares_and_mixtures(size):
    rng = np.random.default_rng(size)
    made, factors = abreast(rng, size), rng.random(LANES).astype(np.float32)
    squares, mixed = np.ones(LANES), np.full(size, np.nan, np.float32)
    lanes.add_squares(made.ravel(), squares)
    lanes.mix(made.ravel(), factors, mixed)
    wide = made.astype(np.float64)
    np.testing.assert_allclose(squares, 1 + (wide**2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(mixed, wide @ factors, rtol=1e-5, atol=1e-5)


def test_no_square_of_a_small_number_is_lost():
    squares = np.zeros(LANES)
    lanes.add_squares(np.full(8 * LANES, 1e-30, np.float32), squares)
    np.testing.assert_allclose(squares, 8e-60, rtol=1e-6)
