"""Microcontrollers: cycles a product by class of kernel, and the memory that a runtime plans.

Kernels of CMSIS-NN (Lai et al. 2018) differ by how often an operand is used once loaded: a
pointwise or dense product streams both; a depthwise one re-uses nothing across channels; a
convolution first gathers its patches. So each class has its own cycles a product. Memory is planned
as TensorFlow Lite Micro does: all tensors' lifetimes are known; the largest is placed first, at the
lowest address that is free during its life.

Modelled: 8-bit kernels, wider ones by the products of bytes, floats by [microcontroller] float_mac.
Not modelled: caches and flash wait states, except as they are in the cycles of the chip's file.
Operands narrower than a byte gain nothing.
"""

from math import ceil

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.hardware import Chip
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Nest, Network


def class_of(nest: Nest) -> str:
    """The kernel that runs a nest: pointwise, depthwise, convolution or dense."""
    channels = nest.batch if nest.records_summed else nest.channels
    if nest.groups > 1 and channels == 1:  # also with several filters a channel
        return "depthwise"
    if nest.rows * nest.columns == 1 and nest.kernel_rows * nest.kernel_columns == 1:
        return "dense"
    return "pointwise" if nest.kernel_rows * nest.kernel_columns == 1 else "convolution"


def run(nest: Nest, chip: Chip, precision: Precision) -> Execution:
    """Cycles and accesses of a nest."""
    kernels = chip.microcontroller
    assert kernels
    if precision.kind == "float":
        each = kernels.float_mac
    else:
        each = getattr(kernels, class_of(nest)) * ceil(precision.weight_bits / 8)
        each *= ceil(precision.activation_bits / 8)
    cycles = nest.macs * each
    return Execution(
        cycles=cycles,
        compute_cycles=cycles,
        macs=nest.macs,
        active=1,
        scratchpad=3 * nest.macs,
        buffer=Traffic(nest.macs, nest.macs, nest.outputs),
        dram=Traffic(nest.inputs, nest.weights, nest.outputs),
    )


def plan_memory(network: Network) -> int:
    """Bytes of the arena that holds all 8-bit tensors of one inference.

    Tensors are placed largest first, each in the first gap free throughout its life (the greedy
    planner of TensorFlow Lite Micro, in 16-byte steps).
    """
    sizes = [network.input_size, *(layer.size for layer in network.layers)]
    first = list(range(-1, len(network.layers)))
    last = [max(i, 0) for i in first]
    for index, layer in enumerate(network.layers):
        for source in layer.inputs:
            last[source + 1] = max(last[source + 1], index)
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    placed: list[tuple[int, int, int]] = []  # offset, end, tensor
    top = 0
    for tensor in order:
        need = ceil(sizes[tensor] / 16) * 16
        rivals = [
            (low, high)
            for low, high, other in placed
            if first[other] <= last[tensor] and first[tensor] <= last[other]
        ]
        offset = 0
        for low, high in rivals:  # `placed` is in the order of offsets
            if low - offset >= need:
                break
            offset = max(offset, high)
        placed.append((offset, offset + need, tensor))
        placed.sort()
        top = max(top, offset + need)
    return top
