"""In-memory computing: weights are conductances, a read of a crossbar is a matrix-vector product.

ISAAC (Shafiee et al., ISCA 2016). A weight takes ceil(bits / cell_bits) neighbouring cells, an
input is fed dac_bits a read, each column's current passes a converter. Nests that need fewer
crossbars than there are get copies that share the positions; those that need more are written in
turns. Weights of layers stay; the gradients that a backward pass multiplies by do not, so they are
written first. The transposed copy of the weights that input gradients need is kept beside the
first.

Modelled: conversions, reads, writes, and the time of each. Not modelled: device noise, wear, and
the pipeline between layers (layers run one after another).
"""

from math import ceil

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.hardware import Chip
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Nest


def run(nest: Nest, chip: Chip, precision: Precision) -> Execution:
    """Cycles, conversions and accesses of a nest."""
    bar = chip.crossbar
    assert bar
    m, n, k = nest.gemm
    cells = ceil(precision.weight_bits / bar.cell_bits)
    reads = ceil(precision.activation_bits / bar.dac_bits)
    row_tiles, column_tiles = ceil(k / bar.rows), ceil(n * cells / bar.columns)
    needed = nest.groups * row_tiles * column_tiles
    there = chip.array.elements
    turns = ceil(needed / there)
    written = turns > 1 or nest.records_summed or nest.computed
    copies = 1 if written else there // needed
    seconds = turns * ceil(m / copies) * reads * bar.read_s
    if written:
        seconds += turns * min(k, bar.rows) * bar.write_s
    samples = nest.groups * m * reads
    writes = nest.weights * cells if written else 0
    return Execution(
        cycles=seconds * chip.clock_hz,
        compute_cycles=seconds * chip.clock_hz,
        macs=nest.macs,
        active=min(needed, there),
        network=Traffic(samples * k * column_tiles / reads, 0, nest.outputs * row_tiles),
        buffer=Traffic(nest.groups * m * k, 0, nest.outputs * 2),
        dram=Traffic(nest.inputs, nest.weights, nest.outputs),
        events=(
            ("dac", samples * k * column_tiles),
            ("adc", samples * n * cells * row_tiles),
            ("cell", samples * k * n * cells),
            ("cell_write", writes),
        ),
    )
