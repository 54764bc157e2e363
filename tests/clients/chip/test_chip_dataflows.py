"""Multiplexed, stochastic and in-memory engines against loops walked step by step."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.chip import fixed, load_chip, stochastic
from clients.chip import stochastic as streams
from clients.chip.dataflows.crossbar import run as run_crossbar
from clients.chip.dataflows.multiplexed import run as run_multiplexed
from clients.chip.dataflows.sparsity import cycles_of
from clients.chip.dataflows.stochastic import run as run_stochastic
from clients.chip.memory.reload import traffic
from clients.chip.workloads.workload import Nest

SIZE = st.integers(1, 40)


def product(m, n, k, groups=1):
    """A nest whose groups are [m, k] x [k, n]."""
    return Nest(batch=1, filters=n, channels=k, rows=m, columns=1, groups=groups)


def best_tile(m, n, elements):
    """Of all tiles that fit, one with the fewest steps."""
    tiles = [(f, elements // f) for f in range(1, min(n, elements) + 1)]
    return min(tiles, key=lambda t: len(range(0, n, t[0])) * len(range(0, m, t[1])))


@settings(max_examples=60, deadline=None)
@given(m=SIZE, n=SIZE, k=SIZE, groups=st.integers(1, 3), bits=st.sampled_from([1, 2, 4, 8]))
def test_an_output_stays_on_one_element(m, n, k, groups, bits):
    """Hand out outputs tile by tile, and count a cycle for each word of products."""
    chip = load_chip("binary")
    elements, together = 32, 32 // bits
    filters, positions = best_tile(m, n, elements)
    cycles = 0
    done = np.zeros((groups, m, n), int)
    for group in range(groups):
        for i in range(0, m, positions):
            for j in range(0, n, filters):
                done[group, i : i + positions, j : j + filters] += 1
                for _ in range(0, k, together):
                    cycles += 1
    assert (done == 1).all()
    found = run_multiplexed(product(m, n, k, groups), chip, fixed(bits))
    assert found.cycles == cycles
    assert found.macs == groups * m * n * k


@settings(max_examples=60, deadline=None)
@given(m=SIZE, n=st.integers(1, 150), k=st.integers(1, 150), length=st.integers(1, 300))
def test_a_stream_takes_its_length_for_each_fold(m, n, k, length):
    chip = load_chip("integral-sc")  # 64 x 64, digits to 2
    filters, positions = best_tile(m, n, 64)
    folds = ceil(k / 64)
    steps = len(range(0, m, positions)) * len(range(0, n, filters)) * folds
    found = run_stochastic(product(m, n, k), chip, stochastic(length))
    assert found.cycles == steps * ceil(length / 2)
    events = dict(found.events)
    assert events["bit_product"] == m * n * k * 2 * ceil(length / 2)
    assert events["counter"] == m * n * folds * ceil(length / 2)


def test_longer_streams_are_held_in_more_bits():
    assert [streams(length).weight_bits for length in (2, 16, 256, 257)] == [2, 4, 8, 9]


@settings(max_examples=60, deadline=None)
@given(m=SIZE, n=st.integers(1, 300), k=st.integers(1, 400))
def test_a_crossbar_reads_each_input_bit_once(m, n, k):
    chip = load_chip("isaac")  # 128 x 128 cells of 2 bits, 1-bit inputs, 16,128 crossbars
    found = run_crossbar(product(m, n, k), chip, fixed(16))
    tiles = ceil(k / 128) * ceil(n * 8 / 128)
    copies = 16_128 // tiles
    assert found.cycles / chip.clock_hz == pytest.approx(ceil(m / copies) * 16 * 100e-9)
    events = dict(found.events)
    assert events["adc"] == m * 16 * n * 8 * ceil(k / 128)
    assert events["cell"] == m * 16 * k * n * 8
    assert events["cell_write"] == 0  # the weights of a layer stay


def test_a_product_too_large_for_the_crossbars_is_written_in_turns():
    chip = load_chip("isaac")
    found = run_crossbar(product(1, 40_000, 9_000), chip, fixed(16))
    assert dict(found.events)["cell_write"] == 40_000 * 9_000 * 8


@pytest.mark.parametrize("group", [1, 4, 16, 64])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_group_waits_for_its_slowest(group, kept):
    """Against draws: independent zeros, the greatest count of a group."""
    products = 400
    random = np.random.default_rng(0)
    slowest = random.binomial(products, kept, (4000, group)).max(1).mean()
    assert cycles_of(products, kept, group) == pytest.approx(slowest, rel=0.08)
    assert cycles_of(products, kept, group) <= products


@settings(max_examples=80, deadline=None)
@given(m=st.integers(1, 4000), n=st.integers(1, 4000), k=st.integers(1, 4000))
def test_blocks_move_no_less_than_once_and_fit_their_room(m, n, k):
    """The better of two schedules, each walked block by block."""
    chip, nest = load_chip("edgetpu"), product(m, n, k)
    room = chip.memory.buffer_bytes // 4
    weights_held = sum(m * k for _ in range(0, n * k, room)) + n * k
    inputs_held = sum(n * k for _ in range(0, m * k, room)) + m * k
    moved = traffic(nest, chip)
    assert moved.inputs + moved.weights == min(weights_held, inputs_held)
    assert moved.inputs >= nest.inputs
    assert moved.weights >= nest.weights
    assert moved.outputs == nest.outputs
