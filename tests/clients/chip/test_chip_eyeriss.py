"""Row stationary against the silicon of JSSC 2017 and the study of ISCA 2016. No number is fitted.

The mappings are found, by rules that were chosen knowing the paper's tables (see
clients.chip.dataflows.mapping); Table III of JSSC 2017 prints the authors'. VGG-16 (its Table VI)
is a network of another kind: bound by the buffer's bus.
"""

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_chips import ALEXNET, ENERGY, MAPPINGS, VGG

from clients.chip import Workload, estimate, fixed, load_chip, reference
from clients.chip.dataflows.mapping import find_mapping
from clients.chip.energy import PJ
from clients.chip.workloads.workload import Nest

EYERISS, ISCA = load_chip("eyeriss"), load_chip("eyeriss-isca")


def rows_of(network, chip, batch):
    cost = estimate(network, chip, Workload(), fixed(16), batch)
    return {row.layer: row for row in cost.rows}


def test_alexnet_processing_time():
    rows = rows_of("alexnet", EYERISS, 4)
    for layer, (silicon_ms, _) in ALEXNET.items():
        assert rows[layer].processing_s * 1e3 == pytest.approx(silicon_ms, rel=0.06), layer
    total = sum(rows[layer].processing_s for layer in ALEXNET) * 1e3
    assert total == pytest.approx(103.5, rel=0.03)


@pytest.mark.parametrize(
    ("network", "batch", "table"), [("alexnet", 4, ALEXNET), ("vgg16", 3, VGG)]
)
def test_active_elements_are_exact(network, batch, table):
    rows = rows_of(network, EYERISS, batch)
    assert {layer: rows[layer].active for layer in table} == {
        layer: active for layer, (_, active) in table.items()
    }


def test_the_mappings_found_are_those_the_authors_print():
    for layer in reference("alexnet").layers:
        if layer.name in MAPPINGS:
            at = find_mapping(replace(layer.nest, batch=4), EYERISS)
            assert (at.e, at.n, at.m, at.p, at.q, at.r, at.t) == MAPPINGS[layer.name], layer.name


def test_vgg_is_bound_by_the_buffer_where_the_silicon_is():
    rows = rows_of("vgg16", EYERISS, 3)
    errors = [rows[layer].processing_s * 1e3 / ms - 1 for layer, (ms, _) in VGG.items()]
    total = sum(rows[layer].processing_s for layer in VGG) * 1e3
    assert total == pytest.approx(3755.2, rel=0.05)
    assert max(map(abs, errors)) <= 0.15
    assert sum(map(abs, errors)) / len(errors) <= 0.07
    for layer in ("conv1-1", "conv1-2", "conv2-1", "conv2-2"):
        assert rows[layer].bound != "compute"
        assert rows[layer].compute_s < 0.3 * rows[layer].processing_s


def test_energy_of_isca_2016():
    rows = rows_of("alexnet", ISCA, 16)
    for layer, cells in ENERGY.items():
        energy = rows[layer].energy_j
        ours = [energy[part] / PJ / 1e9 for part in ("mac", "dram", "scratchpad")]
        for part, mine, published in zip(("ALU", "DRAM", "RF"), ours, cells, strict=True):
            # cells are printed to 0.01, so half of that is theirs
            assert abs(mine - published) <= 0.10 * published + 0.005, (layer, part, mine)


@settings(max_examples=80, deadline=None)
@given(
    batch=st.integers(1, 6),
    filters=st.integers(1, 200),
    channels=st.integers(1, 200),
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    kernel=st.integers(1, 14),
    stride=st.integers(1, 3),
    chip=st.sampled_from([EYERISS, ISCA]),
)
def test_every_mapping_fits_the_chip(batch, filters, channels, rows, columns, kernel, stride, chip):
    """Folded or not: array, scratchpads and banks hold what the mapping says."""
    nest = Nest(batch, filters, channels, rows, columns, kernel, kernel, (stride, stride))
    at, pads, memory = find_mapping(nest, chip), chip.scratchpads, chip.memory
    height, width = ceil(kernel / at.fold_rows), ceil(kernel / at.fold_columns)
    across = min(at.e, chip.array.columns)
    down = ceil(at.e / chip.array.columns) * height
    side_by_side = (chip.array.rows // down) * (chip.array.columns // across)
    assert at.active == height * at.e * at.r * at.t <= chip.array.elements
    assert at.r * at.t <= side_by_side
    assert at.q * width <= pads.input_words
    assert at.p * at.q * width <= pads.weight_words
    assert at.p <= pads.sum_words
    input_height = min((at.e - 1) * stride + height, nest.height)
    inputs = at.n * input_height * nest.width * chip.word_bits / 8
    sums = at.n * at.m * at.e * columns * chip.sum_bits / 8
    banks = memory.buffer_bytes // memory.bank_bytes
    used = ceil(sums / memory.bank_bytes) + ceil(inputs / memory.bank_bytes)
    if at.m > 1 or at.e > min(rows, ceil(chip.array.columns / 2)) or at.n > 1:
        assert used <= banks
    # and all the work gets done
    turns = ceil(filters / (at.p * at.t))
    assert turns * at.p * at.t >= filters
