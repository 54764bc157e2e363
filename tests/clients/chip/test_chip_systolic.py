"""Systolic arrays: the closed form against registers that shift, and against SCALE-Sim itself."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_chip import systolic

from clients.chip.dataflows.systolic import count_cycles

SIDES = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(
    m=SIDES,
    n=SIDES,
    k=SIDES,
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    stationary=st.sampled_from(["weights", "inputs", "outputs"]),
    seed=st.integers(0, 2**16),
)
def test_cycles_are_those_of_an_array_that_gets_the_product_right(
    m, n, k, rows, columns, stationary, seed
):
    random = np.random.default_rng(seed)
    a, b = random.integers(-4, 5, (m, k)), random.integers(-4, 5, (k, n))
    product, cycles = systolic(a, b, rows, columns, stationary)
    np.testing.assert_array_equal(product, a @ b)
    assert count_cycles(m, n, k, rows, columns, stationary) == cycles


def test_scale_sim_counts_the_same(tmp_path, monkeypatch):
    """A sample; `make bench` compares 1,000 layers x 3 dataflows."""
    pytest.importorskip("scalesim", reason="SCALE-Sim is not installed: pip install '.[dev]'")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import scale_sim

    assert scale_sim.compare(tmp_path, layers=6, arrays=1, seed=5) == {
        "compared": 18,
        "mismatches": 0,
    }
