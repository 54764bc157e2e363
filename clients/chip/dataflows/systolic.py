"""Systolic arrays: weight-, input- and output-stationary, cycle for cycle as SCALE-Sim 3 runs them.

Samajdar et al., ISPASS 2020. A group's product [M, K] x [K, N] is folded on R x C elements.
Stationary operands are shifted in over R cycles, then T rows stream through, skewed by R + C - 2
cycles:

    weights stay:   R folds of K, C folds of N, T = M     cycles a fold 2R + C + T - 2
    inputs stay:    R folds of K, C folds of M, T = N     cycles a fold 2R + C + T - 2
    outputs stay:   R folds of M, C folds of N, T = K     cycles a fold R + C + T - 2

A fold of a remainder takes as long as a whole one: its operands pass all of the array. Folds, and
groups, do not overlap. These are durations; SCALE-Sim reports the number of a layer's last cycle,
counted from 0, which is one less. Not modelled here: bank conflicts, and stalls (buffer and DRAM
are rates that bound the whole layer: clients.chip.cost).
"""

from math import ceil

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.hardware import Chip
from clients.chip.memory.reload import traffic
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Nest

STATIONARY = {
    "weight-stationary": "weights",
    "input-stationary": "inputs",
    "output-stationary": "outputs",
}


def count_cycles(m: int, n: int, k: int, rows: int, columns: int, stationary: str) -> int:
    """Cycles of [m, k] x [k, n] on rows x columns elements."""
    on_rows, on_columns, streamed = {
        "weights": (k, n, m),
        "inputs": (k, m, n),
        "outputs": (m, n, k),
    }[stationary]
    folds = ceil(on_rows / rows) * ceil(on_columns / columns)
    shifted_in = 0 if stationary == "outputs" else rows
    return folds * (shifted_in + rows + columns + streamed - 2)


def run(nest: Nest, chip: Chip, precision: Precision) -> Execution:
    """Cycles and accesses of a nest; groups run one after another."""
    stationary = STATIONARY[chip.dataflow]
    rows, columns = chip.array.rows, chip.array.columns
    m, n, k = nest.gemm
    cycles = nest.groups * count_cycles(m, n, k, rows, columns, stationary)
    if stationary == "outputs":
        reads = Traffic(m * k * ceil(n / columns), n * k * ceil(m / rows), m * n)
        busy = min(m, rows) * min(n, columns)
    elif stationary == "weights":
        reads = Traffic(m * k * ceil(n / columns), n * k, m * n * (2 * ceil(k / rows) - 1))
        busy = min(k, rows) * min(n, columns)
    else:
        reads = Traffic(m * k, n * k * ceil(m / columns), m * n * (2 * ceil(k / rows) - 1))
        busy = min(k, rows) * min(m, columns)
    dram = traffic(nest, chip)
    return Execution(
        cycles=cycles,
        compute_cycles=cycles,
        macs=nest.macs,
        active=busy,
        scratchpad=4 * nest.macs,
        network=Traffic(inputs=nest.macs, outputs=nest.macs),
        buffer=Traffic(*(a * nest.groups + b for a, b in zip(reads, dram, strict=True))),
        dram=dram,
    )
