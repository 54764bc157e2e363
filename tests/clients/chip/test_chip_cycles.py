"""Cycles worked out by hand, for each dataflow; the arithmetic stands beside each case."""

from dataclasses import replace

import pytest

from clients.chip import FLOAT, Network, Workload, estimate, fixed, load_chip, stochastic
from clients.chip.cost import RUNNERS
from clients.chip.dataflows import microcontroller, multiplexed
from clients.chip.dataflows.row_stationary import Mapping, cost_of
from clients.chip.dataflows.systolic import count_cycles
from clients.chip.workloads.workload import Layer, Nest


def part(settings, **changes):
    return settings.model_copy(update=changes)


def square(name, side, **parts):
    """A ready chip with an array of side x side."""
    chip = load_chip(name)
    return part(chip, array=part(chip.array, rows=side, columns=side), **parts)


def product(m, n, k, groups=1):
    """Groups of [m, k] x [k, n]."""
    return Nest(batch=1, filters=n, channels=k, rows=m, columns=1, groups=groups)


def depthwise(channels, side, kernel):
    """A kernel x kernel filter a channel, on side x side outputs."""
    return Nest(1, 1, 1, side, side, kernel, kernel, groups=channels)


# ---- systolic: operands are skewed by a cycle a row and a cycle a column


@pytest.mark.parametrize(
    ("m", "n", "k", "side", "stationary", "cycles"),
    [
        # One element: a multiplication. Where an operand stays, it is shifted in first.
        (1, 1, 1, 1, "outputs", 1),
        (1, 1, 1, 1, "weights", 1 + 1),
        (1, 1, 1, 1, "inputs", 1 + 1),
        # One element, all in turn: 2 x 3 outputs of 4 products; 3 x 4 weights, loaded, for 2 rows;
        # 2 x 4 inputs, loaded, for 3 columns.
        (2, 3, 4, 1, "outputs", 6 * 4),
        (2, 3, 4, 1, "weights", 12 * (1 + 2)),
        (2, 3, 4, 1, "inputs", 8 * (1 + 3)),
        # 4 x 4, one product of 4 x 4 x 4. Outputs stay: the corner's first operands arrive after
        # 3 + 3 cycles, and 4 follow. Weights stay: 4 cycles to shift in; row 4 enters the array 3
        # cycles after row 1, the last of 4 values 3 later, and leaves the last column 3 after.
        (4, 4, 4, 4, "outputs", 6 + 4),
        (4, 4, 4, 4, "weights", 4 + 6 + 4),
        (4, 4, 4, 4, "inputs", 4 + 6 + 4),
        # Remainders: 5 = 4 + 1, so 2 x 2 folds, each as long as a whole one.
        (5, 5, 3, 4, "outputs", 4 * (6 + 3)),
        (3, 5, 5, 4, "weights", 4 * (4 + 6 + 3)),
        (5, 3, 5, 4, "inputs", 4 * (4 + 6 + 3)),
        # Less than the array: a single product still passes all of it.
        (1, 1, 1, 4, "outputs", 6 + 1),
        (1, 1, 1, 4, "weights", 4 + 6 + 1),
    ],
)
def test_systolic(m, n, k, side, stationary, cycles):
    assert count_cycles(m, n, k, side, side, stationary) == cycles


@pytest.mark.parametrize(
    ("name", "groups", "cycles"),
    [
        ("edgetpu", 1, 10),  # outputs stay: 6 + 4
        ("edgetpu", 3, 3 * 10),
        ("tpu", 1, 14),  # weights stay: 4 + 6 + 4
        ("tpu", 3, 3 * 14),
    ],
)
def test_each_group_is_a_product_of_its_own(name, groups, cycles):
    chip = square(name, 4)
    assert RUNNERS[chip.dataflow](product(4, 4, 4, groups), chip, fixed(8)).cycles == cycles


def test_a_depthwise_layer_on_a_systolic_array():
    """2 channels, 2 x 2 outputs of 3 x 3 products: [4, 9] x [9, 1] for each."""
    assert count_cycles(4, 1, 9, 4, 4, "outputs") == 6 + 9
    chip = square("edgetpu", 4)
    assert RUNNERS[chip.dataflow](depthwise(2, 2, 3), chip, fixed(8)).cycles == 2 * 15
    chip = square("tpu", 4)  # 9 weights on 4 rows: 3 folds of 4 + 6 + 4 rows of inputs
    assert RUNNERS[chip.dataflow](depthwise(2, 2, 3), chip, fixed(8)).cycles == 2 * 3 * 14


def test_a_batch_and_its_gradients_in_seconds():
    """4 records of 4 values and 4 classes on 4 x 4 elements whose outputs stay, at 200 MHz.

    Forward and the gradient summed over the batch: 6 + 4 cycles each. A gradient a record sums over
    that record alone: 6 + 1 cycles, 4 times. Each is a duration, so that nothing is lost between.
    """
    chip = load_chip("edgetpu")
    free = part(chip.memory, buffer_words_per_cycle=0.0, dram_bytes_per_s=0.0)
    chip = square("edgetpu", 4, memory=free, clock_hz=200e6)
    head = Layer("head", "dense", 4, (-1,), product(1, 4, 4))
    network = Network("gemm4", 4, (head,))
    for workload, gradient in ((Workload("sgd"), 10), (Workload("dp-sgd"), 4 * 7)):
        rows = {row.phase: row for row in estimate(network, chip, workload, fixed(8), 4).rows}
        assert rows["forward"].compute_s == pytest.approx(10 / 200e6, rel=1e-12)
        assert rows["weight gradient"].compute_s == pytest.approx(gradient / 200e6, rel=1e-12)
    # Words of 16 bits on elements of 8: 2 x 2 passes.
    (row,) = estimate(network, chip, Workload(), fixed(16), 4).rows
    assert row.compute_s == pytest.approx(4 * 10 / 200e6, rel=1e-12)


# ---- an output stays on one element until it is done


@pytest.mark.parametrize(
    ("nest", "side", "bits", "cycles"),
    [
        (product(1, 1, 1), 1, 32, 1),
        (product(4, 4, 4), 1, 32, 16 * 4),  # 16 outputs in turn, 4 products each
        (product(4, 4, 4), 4, 32, 4),  # 16 outputs at once
        (product(5, 5, 4), 4, 32, 2 * 4),  # 25 outputs on 16 elements
        (product(4, 4, 5), 4, 8, 2),  # 4 products of 8 bits a cycle: 4, then 1
        (product(4, 4, 33), 4, 1, 2),  # 32 products of one bit: 32, then 1
        (depthwise(3, 2, 3), 4, 32, 3 * 9),  # a channel after another, 4 outputs at once
        (depthwise(3, 5, 3), 4, 32, 3 * 2 * 9),  # 25 outputs on 16 elements
    ],
)
def test_multiplexed(nest, side, bits, cycles):
    chip = square("binary", side)
    chip = part(chip, array=part(chip.array, vector_bits=32))
    assert multiplexed.run(nest, chip, fixed(bits)).cycles == cycles


@pytest.mark.parametrize(
    ("nest", "side", "cycles"),
    [
        (product(1, 1, 1), 1, 8),  # 16 bits in digits to 2
        (product(4, 4, 4), 1, 4 * 4 * 4 * 8),
        (product(4, 4, 4), 4, 4 * 8),  # 4 columns are outputs, of 4 products each
        (product(4, 4, 5), 4, 4 * 2 * 8),  # 5 products on 4 rows
        (product(5, 1, 4), 4, 2 * 8),  # 5 outputs on 4 columns
        (depthwise(2, 2, 3), 4, 2 * 3 * 8),  # 9 products on 4 rows, 4 outputs at once
    ],
)
def test_streams(nest, side, cycles):
    chip = square("integral-sc", side)
    assert RUNNERS["stochastic"](nest, chip, stochastic(16)).cycles == cycles


# ---- a crossbar reads a row of inputs at once, a bit at a time


@pytest.mark.parametrize(
    ("nest", "crossbars", "reads"),
    [
        (product(1, 1, 1), 1, 4),  # 4 bits of input, one a read
        (product(4, 2, 4), 1, 4 * 4),  # 2 weights of 2 cells on 4 columns; 4 positions in turn
        (product(4, 2, 4), 2, 2 * 4),  # on two copies
        (product(5, 2, 4), 2, 3 * 4),  # a position is left over
        (product(4, 3, 5), 4, 4 * 4),  # 5 rows, 6 columns: 2 x 2 crossbars of 4 x 4
        (depthwise(2, 2, 2), 2, 4 * 4),  # 4 positions; the channels side by side
    ],
)
def test_crossbars(nest, crossbars, reads):
    chip = load_chip("isaac")
    bar = part(chip.crossbar, rows=4, columns=4, cell_bits=2, dac_bits=1, read_s=100e-9)
    chip = part(chip, crossbar=bar, array=part(chip.array, rows=crossbars, columns=1))
    found = RUNNERS["crossbar"](nest, chip, fixed(4))
    assert found.cycles / chip.clock_hz == pytest.approx(reads * 100e-9, rel=1e-12)


def test_a_product_too_large_for_the_crossbars_waits_for_its_weights():
    """4 crossbars needed and 2 there: 2 turns of 4 rows written and 4 positions of 4 bits read."""
    chip = load_chip("isaac")
    bar = part(chip.crossbar, rows=4, columns=4, cell_bits=2, dac_bits=1, read_s=1e-7, write_s=1e-6)
    chip = part(chip, crossbar=bar, array=part(chip.array, rows=2, columns=1))
    found = RUNNERS["crossbar"](product(4, 3, 5), chip, fixed(4))
    assert found.cycles / chip.clock_hz == pytest.approx(2 * (4 * 1e-6 + 16 * 1e-7), rel=1e-12)


# ---- row stationary: rows of filters stay, rows of inputs slide


def row_stationary(bus):
    """4 x 4 elements; scratchpads that hold all of these layers."""
    chip = square("eyeriss", 4)
    pads = part(chip.scratchpads, input_words=12, weight_words=64, sum_words=16)
    pads = part(pads, input_bus=bus, weight_bus=bus, sum_bus=bus)
    return part(chip, scratchpads=pads)


WIDE = 1e12  # a bus that nothing waits for


@pytest.mark.parametrize(
    ("nest", "at", "bus", "cycles"),
    [
        # One output of one product; on a bus of a word a cycle the weight comes first, then the
        # input; it is multiplied while the sum leaves.
        (product(1, 1, 1), Mapping(1, 1, 1, 1, 1, 1, 1, 1, 1, 1), WIDE, 1),
        (product(1, 1, 1), Mapping(1, 1, 1, 1, 1, 1, 1, 1, 1, 1), 1, 1 + 1 + 1),
        # 4 x 4 outputs of 4 filters on 4 channels, kernel 1 x 1: a column of elements an output
        # row, and in each column 4 sets, one a channel. An element does 4 filters x 4 columns.
        (Nest(1, 4, 4, 4, 4), Mapping(4, 1, 4, 4, 1, 4, 1, 1, 1, 16), WIDE, 16),
        # The same on a bus of 4 words: 16 weights, 4 cycles; the first input of each of 4 rows and
        # 4 channels, 4 cycles; then 4 x 4 x 4 sums leave while it multiplies, 16 cycles as well.
        (Nest(1, 4, 4, 4, 4), Mapping(4, 1, 4, 4, 1, 4, 1, 1, 1, 16), 4, 16 + 4 + 4),
        # 5 rows are strips of 4 and 1, and one row takes as long as four.
        (Nest(1, 4, 4, 5, 4), Mapping(4, 1, 4, 4, 1, 4, 1, 1, 1, 16), WIDE, 2 * 16),
        # 8 filters, 4 at a time.
        (Nest(1, 8, 4, 4, 4), Mapping(4, 1, 4, 4, 1, 4, 1, 1, 1, 16), WIDE, 2 * 16),
        # Depthwise, 3 x 3 on 4 x 4 outputs, 2 channels one after the other: 3 elements a column,
        # each 3 products for each of 4 outputs.
        (depthwise(2, 4, 3), Mapping(4, 1, 1, 1, 1, 1, 1, 1, 1, 12), WIDE, 2 * 3 * 4),
    ],
)
def test_row_stationary(nest, at, bus, cycles):
    assert cost_of(nest, at, row_stationary(bus)).cycles == pytest.approx(cycles, rel=1e-9)


# ---- microcontrollers: products by class of kernel


@pytest.mark.parametrize(
    ("nest", "kind", "macs"),
    [
        (product(1, 1, 1), "dense", 1),
        (product(1, 4, 4), "dense", 16),
        (Nest(1, 4, 4, 4, 4), "pointwise", 256),
        (Nest(1, 4, 4, 4, 4, 3, 3), "convolution", 9 * 256),
        (depthwise(2, 4, 3), "depthwise", 2 * 16 * 9),
        (Nest(1, 2, 1, 4, 4, 3, 3, groups=2), "depthwise", 2 * 2 * 16 * 9),
        (Nest(1, 2, 2, 4, 4, 3, 3, groups=2), "convolution", 2 * 4 * 16 * 9),
        # A weight gradient of a depthwise layer over 8 records re-uses as little as over one.
        (Nest(1, 1, 8, 3, 3, 4, 4, groups=2, records_summed=True), "depthwise", 2 * 8 * 9 * 16),
        (Nest(1, 1, 1, 3, 3, 4, 4, groups=2, records_summed=True), "depthwise", 2 * 1 * 9 * 16),
    ],
)
def test_microcontrollers(nest, kind, macs):
    chip = load_chip("stm32h743")
    each = {"dense": 3.5134, "pointwise": 3.5134, "convolution": 3.5134, "depthwise": 7.1414}[kind]
    assert microcontroller.class_of(nest) == kind
    assert nest.macs == macs
    assert microcontroller.run(nest, chip, fixed(8)).cycles == pytest.approx(macs * each)
    assert microcontroller.run(nest, chip, fixed(9)).cycles == pytest.approx(4 * macs * each)
    assert microcontroller.run(nest, chip, FLOAT).cycles == pytest.approx(macs * 4)


def test_a_record_of_a_batch_costs_what_one_alone_does_on_a_microcontroller():
    nest = depthwise(2, 4, 3)
    chip = load_chip("stm32h743")
    one, two = (
        microcontroller.run(replace(nest, batch=batch), chip, fixed(8)).cycles for batch in (1, 2)
    )
    assert two == 2 * one
