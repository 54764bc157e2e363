"""Joules by part, from what was done and the chip's constants.

Scaling, where an operand differs from the chip's word: a fixed-point multiplier costs in proportion
to the product of the widths (Horowitz, ISSCC 2014: 0.2 pJ at 8 bits, 3.1 pJ at 32), storage and
wires in proportion to the bits. On the chip a narrower operand occupies a word, but its idle bits
do not toggle.
"""

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.hardware import Chip, Constant
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Workload

PARTS = ("mac", "scratchpad", "network", "buffer", "dram", "lane", "random", "conversion", "static")
PJ = 1e-12

# Which part an event of an execution is reported under.
EVENT_PARTS = {
    "generator": "random",
    "bit_product": "mac",
    "counter": "mac",
    "adc": "conversion",
    "dac": "conversion",
    "cell": "mac",
    "cell_write": "buffer",
}


def word_bits(traffic: Traffic, precision: Precision, sum_bits: int) -> float:
    """Bits of some traffic; outputs and sums have `sum_bits`."""
    return (
        traffic.inputs * precision.activation_bits
        + traffic.weights * precision.weight_bits
        + traffic.outputs * sum_bits
    )


def mac_pj(chip: Chip, precision: Precision) -> float:
    """Picojoules of one multiply-accumulate."""
    if precision.kind == "float":
        assert chip.energy.float_mac
        return chip.energy.float_mac.pj * precision.weight_bits * precision.activation_bits / 32**2
    widths = precision.weight_bits * precision.activation_bits
    return chip.energy.mac.pj * widths / chip.word_bits**2


def price(
    done: Execution, chip: Chip, precision: Precision, workload: Workload, dram_bits: float
) -> dict[str, float]:
    """Joules of a nest by part, static power apart."""
    energy, word = chip.energy, chip.word_bits
    wide = max(precision.weight_bits, precision.activation_bits)
    products = done.macs
    if chip.array.gates:
        products *= 1 - workload.activation_zeros
    joules = dict.fromkeys(PARTS, 0.0)
    if not done.events:  # analogue and stochastic products are among the events
        joules["mac"] = products * mac_pj(chip, precision) * PJ
    joules["scratchpad"] = done.scratchpad * energy.scratchpad.pj * wide / word * PJ
    joules["network"] = word_bits(done.network, precision, wide) / word * energy.network.pj * PJ
    sums = max(chip.sum_bits, precision.activation_bits)
    joules["buffer"] = word_bits(done.buffer, precision, sums) / word * energy.buffer.pj * PJ
    joules["dram"] = dram_bits / word * energy.dram.pj * PJ
    for name, count in done.events:
        constant: Constant = getattr(energy, name)
        joules[EVENT_PARTS[name]] += count * constant.pj * PJ
    return joules
