"""How fast a chip is at most, and how fast its lanes are."""

from math import ceil

from clients.chip.dataflows.multiplexed import chip_bits
from clients.chip.hardware import Chip
from clients.chip.precision import Precision
from clients.chip.workloads.nests import Task


def passes_for(chip: Chip, precision: Precision) -> int:
    """Runs of the array for operands wider than its words."""
    if chip.dataflow in ("microcontroller", "crossbar", "stochastic") or precision.kind == "float":
        return 1
    word = max(chip.word_bits, chip.array.vector_bits)
    return ceil(precision.weight_bits / word) * ceil(precision.activation_bits / word)


def peak_rate(chip: Chip, precision: Precision) -> float:
    """The most products a second."""
    elements = chip.array.elements * chip.clock_hz
    if chip.dataflow == "multiplexed":
        widest = chip_bits(max(precision.weight_bits, precision.activation_bits))
        return elements * max(1, chip.array.vector_bits // widest) / passes_for(chip, precision)
    if chip.stochastic:
        length = ceil(precision.stream_length / chip.stochastic.levels)
        return elements / ceil(length / chip.stochastic.bits_per_cycle)
    if chip.crossbar:
        bar = chip.crossbar
        columns = bar.columns / ceil(precision.weight_bits / bar.cell_bits)
        reads = ceil(precision.activation_bits / bar.dac_bits)
        return chip.array.elements * bar.rows * columns / (reads * bar.read_s)
    if chip.microcontroller:
        kernels = chip.microcontroller
        fastest = min(kernels.pointwise, kernels.depthwise, kernels.convolution, kernels.dense)
        each = kernels.float_mac if precision.kind == "float" else fastest
        return chip.clock_hz / each
    return elements / passes_for(chip, precision)


def lane_seconds(task: Task, chip: Chip) -> float:
    """Seconds of a task's element-wise operations and Gaussians."""
    if not task.lane_operations and not task.gaussians:
        return 0.0
    if chip.microcontroller:
        kernels = chip.microcontroller
        cycles = task.lane_operations * kernels.element + task.gaussians * kernels.gaussian
    else:
        draws = task.gaussians / chip.array.gaussians_per_cycle
        cycles = max(task.lane_operations / chip.array.lanes, draws)
    return cycles / chip.clock_hz
