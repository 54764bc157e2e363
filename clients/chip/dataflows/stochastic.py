"""Stochastic-computing engines: numbers as streams of L bits, products as gates, sums as counters.

Gaines 1969; integral streams: Ardakani et al., IEEE TVLSI 2017, where a digit counts to m and a
stream for the same resolution is m times shorter. Rows of the array multiply in parallel and feed a
parallel counter; columns are outputs. A step takes ceil(L / m / bits_per_cycle) cycles. Operands
become streams as they leave the buffer: a comparator each, with one random source for all where
shared.

Modelled: cycles, bits made, multiplied and counted. Not modelled: the accuracy that L buys (see the
arithmetic itself), and the start of a stream in the pipeline.
"""

from math import ceil

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.dataflows.multiplexed import choose_tile
from clients.chip.hardware import Chip
from clients.chip.memory.reload import traffic
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Nest

COMPARATOR = (
    0.25  # of a generator's energy, where its random source is shared: Ardakani et al. 2017
)


def run(nest: Nest, chip: Chip, precision: Precision) -> Execution:
    """Cycles, bits and accesses of a nest."""
    engine, rows, columns = chip.stochastic, chip.array.rows, chip.array.columns
    assert engine
    m, n, k = nest.gemm
    length = ceil(precision.stream_length / engine.levels)
    filters, positions = choose_tile(nest, columns)
    folds = ceil(k / rows)
    steps = nest.groups * ceil(n / filters) * ceil(m / positions) * folds
    cycles = steps * ceil(length / engine.bits_per_cycle)
    dram = traffic(nest, chip)
    reads = Traffic(m * k * ceil(n / filters), n * k * ceil(m / positions), m * n * (2 * folds - 1))
    streams = nest.groups * (reads.inputs + reads.weights)
    digit_bits = engine.levels  # an integral digit is the sum of m bits
    made = streams * length * digit_bits * (COMPARATOR if engine.shares_generators else 1.0)
    return Execution(
        cycles=cycles,
        compute_cycles=cycles,
        macs=nest.macs,
        active=min(k, rows) * min(m, positions) * filters,
        scratchpad=0,
        network=Traffic(inputs=streams),
        buffer=Traffic(*(a * nest.groups + b for a, b in zip(reads, dram, strict=True))),
        dram=dram,
        events=(
            ("generator", made),
            ("bit_product", nest.macs * length * digit_bits),
            ("counter", nest.outputs * folds * length),
        ),
    )
