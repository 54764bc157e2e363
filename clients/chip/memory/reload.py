"""How often operands cross between DRAM and buffer, for a matrix product worked on in blocks.

A buffer is halved: one half holds sums and outputs on their way out, the other inputs; a weight
buffer of its own is used whole, else weights take half of the inputs' half. Either a block of
filters is held and all inputs pass it, or a block of inputs is held and all weights pass it: the
compiler takes what moves fewer words. The rim that neighbouring blocks of inputs share is not
modelled, nor are sums that spill, which smaller blocks avoid.
"""

from dataclasses import replace
from math import ceil

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.hardware import Chip
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Nest


def traffic(nest: Nest, chip: Chip) -> Traffic:
    """DRAM words of a nest; a group's product is blocked by itself."""
    memory, word = chip.memory, chip.word_bits / 8
    half = memory.buffer_bytes / 2
    weight_room = memory.weight_buffer_bytes or half / 2
    input_room = half if memory.weight_buffer_bytes else half / 2
    inputs = nest.inputs
    if memory.stores_padding:
        planes = nest.batch * nest.groups * nest.channels
        inputs = max(planes * nest.height * nest.width, inputs)
    weight_blocks = ceil(nest.weights / nest.groups * word / weight_room)
    input_blocks = ceil(inputs / nest.groups * word / input_room)
    if inputs * (weight_blocks - 1) <= nest.weights * (input_blocks - 1):
        return Traffic(inputs * weight_blocks, nest.weights, nest.outputs)
    return Traffic(inputs, nest.weights * input_blocks, nest.outputs)


def stay(nest: Nest, chip: Chip, precision: Precision) -> bool:
    """Is there room on the chip for a nest's weights, so that they are brought there once?

    A microcontroller reads its weights where they are, in flash.
    """
    if chip.microcontroller:
        return False
    room = chip.memory.weight_buffer_bytes or chip.memory.buffer_bytes / 4
    return chip.crossbar is not None or nest.weights * precision.weight_bits / 8 <= room


def with_weights_kept(done: Execution, times: int) -> Execution:
    """One of `times` runs whose weights cross from DRAM once in all."""
    dram = done.dram._replace(weights=done.dram.weights / times)
    brought = min(done.buffer.weights, done.dram.weights) * (1 - 1 / times)
    return replace(
        done, dram=dram, buffer=done.buffer._replace(weights=done.buffer.weights - brought)
    )
