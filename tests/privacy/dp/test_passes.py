"""Passes over a batch: how many rows each has."""

import pytest

from privacy.dp import passes


@pytest.mark.parametrize("expected", [1e-3, 1.0, 18.0, 1000.0, 5e4])
@pytest.mark.parametrize("most", [1, 100, 4096])
def test_rows_of_a_pass(expected, most):
    rows, likely = passes.rows_of(expected, most), expected + 4 * expected**0.5 + 1
    assert 1 <= rows <= most
    filled = -(-likely // rows) * rows
    assert likely <= filled <= likely + 8 * -(-likely // most) + most * (most < 8)
