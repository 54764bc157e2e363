"""Time-multiplexed arrays: an element computes one output from its first product to its last.

Inputs are broadcast. A step takes a tile of filters x positions; an element whose datapath is wider
than its operands does several products a cycle (binary and ternary engines: BrainTTA, Molendijk et
al. 2022). Zeros are skipped where the chip can (clients.chip.dataflows.sparsity).

Not modelled: the first and last cycles of an output in the pipeline.
"""

from functools import lru_cache
from math import ceil

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.dataflows.sparsity import cycles_of
from clients.chip.hardware import Chip
from clients.chip.memory.reload import traffic
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Nest


def run(nest: Nest, chip: Chip, precision: Precision, kept: float = 1.0) -> Execution:
    """Cycles and accesses; `kept` is the fraction of products without a zero."""
    array = chip.array
    m, n, k = nest.gemm
    filters, positions = choose_tile(nest, array.elements)
    widest = max(precision.weight_bits, precision.activation_bits)
    together = max(1, array.vector_bits // max(chip_bits(widest), 1))
    steps = ceil(n / filters) * ceil(m / positions)
    cycles = nest.groups * steps * cycles_of(ceil(k / together), kept, array.group)
    dram = traffic(nest, chip)
    reads = Traffic(m * k * ceil(n / filters), n * k * ceil(m / positions), m * n)
    return Execution(
        cycles=cycles,
        compute_cycles=cycles,
        macs=nest.macs * kept,
        active=min(m, positions) * filters,
        scratchpad=2 * nest.macs * kept / together,  # the sum is read and written
        network=Traffic(inputs=nest.macs * kept / together),
        buffer=Traffic(*(a * nest.groups / together + b for a, b in zip(reads, dram, strict=True))),
        dram=dram,
    )


def choose_tile(nest: Nest, elements: int) -> tuple[int, int]:
    """Filters and positions side by side, so that one record's outputs take the fewest steps.

    More records are worked on as one is: so nothing gets cheaper by adding records.
    """
    m, n, _ = nest.gemm
    return _choose_tile(m if nest.records_summed else nest.rows * nest.columns, n, elements)


@lru_cache(maxsize=4096)
def _choose_tile(m: int, n: int, elements: int) -> tuple[int, int]:
    """For each number of steps over n filters the narrowest tile: it leaves most positions."""
    best, chosen = m * n + 1, (1, elements)
    steps = ceil(n / elements)
    while steps <= n:
        filters = ceil(n / steps)
        positions = elements // filters
        count = steps * ceil(m / positions)
        if count < best:
            best, chosen = count, (filters, positions)
        steps = ceil(n / (filters - 1)) if filters > 1 else n + 1
    return chosen


def chip_bits(bits: int) -> int:
    """Operands sit in fields of a power of two of bits."""
    return 1 << max(bits - 1, 0).bit_length()
