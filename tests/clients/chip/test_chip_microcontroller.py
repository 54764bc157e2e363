"""Microcontrollers against public measurements, and the memory planner against its own promise.

STM32H743 with CMSIS-NN: the tables of TinyEngine's README. The chip file's two constants of time
and one of memory come from CALIBRATION; ROWS are only predicted.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from oracles_chip import live_words
from published_chips import CALIBRATION, CLOCK_MHZ, ELEMENT, MLPERF_TINY, ROWS, fit, predict_ms
from test_chip_cost import networks

from clients.chip import Workload, estimate, fixed, load_chip, reference
from clients.chip.dataflows.microcontroller import plan_memory

H743, L4R5 = load_chip("stm32h743"), load_chip("stm32l4r5")


def test_the_constants_come_from_other_networks():
    pointwise, depthwise = fit(CALIBRATION)
    kernels = H743.microcontroller
    assert kernels.pointwise == kernels.convolution == kernels.dense
    assert (kernels.element, H743.clock_hz) == (ELEMENT, CLOCK_MHZ * 1e6)
    assert (kernels.pointwise, kernels.depthwise) == pytest.approx((pointwise, depthwise), rel=1e-3)
    beside = [kb * 1e3 - plan_memory(reference(name)) for name, (_, kb) in CALIBRATION.items()]
    assert kernels.runtime_bytes == pytest.approx(np.mean(beside), rel=1e-3)


def test_latency_and_memory_of_networks_never_seen():
    times, sizes = [], []
    for name, (ms, kb) in ROWS.items():
        cost = estimate(name, H743, Workload(), fixed(8), 1)
        times.append(abs(cost.latency_s * 1e3 / ms - 1))
        sizes.append(abs(cost.memory.peak_bytes / 1e3 / kb - 1))
    assert np.mean(times) <= 0.15
    assert max(times) <= 0.15
    assert np.mean(sizes) <= 0.10
    assert max(sizes) <= 0.15


def test_leave_one_out():
    """Fitted to four of the five rows, the fifth is predicted."""
    errors, sizes = [], []
    for name, (ms, kb) in ROWS.items():
        others = {other: row for other, row in ROWS.items() if other != name}
        errors.append(abs(predict_ms(name, fit(others)) / ms - 1))
        beside = np.mean([k * 1e3 - plan_memory(reference(o)) for o, (_, k) in others.items()])
        sizes.append(abs((plan_memory(reference(name)) + beside) / (kb * 1e3) - 1))
    assert np.mean(errors) <= 0.15
    assert np.mean(sizes) <= 0.10


@pytest.mark.parametrize(("name", "per_s"), MLPERF_TINY.items())
def test_a_cortex_m4_on_networks_never_seen(name, per_s):
    """MLPerf Tiny v1.1, microTVM with CMSIS-NN; the constants come from its other two networks."""
    cost = estimate(name, L4R5, Workload(), fixed(8), 1)
    assert 1 / cost.latency_s == pytest.approx(per_s, rel=0.15)


def test_the_verdict_is_out_of_memory_where_the_board_was():
    """TinyEngine's table: mcunet-in4 does not fit 512 kB under CMSIS-NN; the others do."""
    for name in (*ROWS, *CALIBRATION):
        assert estimate(name, H743, Workload(), fixed(8), 1).memory.fits, name
    assert not estimate("mcunet-in4", H743, Workload(), fixed(8), 1).memory.fits
    assert not estimate("mcunet-vww0", H743, Workload("dp-sgd"), fixed(8), 64).memory.fits


@settings(max_examples=100, deadline=None)
@given(networks())
def test_no_plan_is_below_what_is_alive_nor_above_all_tensors(network):
    planned = plan_memory(network)
    tensors = 1 + len(network.layers)
    every = network.input_size + sum(layer.size for layer in network.layers)
    assert planned >= live_words(network)
    assert planned <= every + 16 * tensors
