"""Row-stationary arrays (Eyeriss): what a layer costs on a mapping.

Chen et al., ISCA 2016 and JSSC 52(1), 2017. An element keeps a row of a filter and slides it along
a row of the input; a set of R x e elements makes e output rows. A pass works on n images, p filters
and q channels in each element, and r x t sets side by side: r sum over channels, t share inputs.
The buffer holds the partial sums of m filters, and the inputs of a pass. Filters taller than the
array, or with rows longer than a scratchpad, are folded into more channels.

Modelled: a pass is bound by the multipliers, by the sums' bus or by the inputs' bus, whichever is
slowest; weights, and the first windows of inputs, are loaded before. Not modelled: configuration
between layers, stalls of single elements, and the ramp of each row on the buses.
"""

from dataclasses import dataclass
from math import ceil

from clients.chip.dataflows.execution import Execution, Traffic
from clients.chip.hardware import Chip
from clients.chip.workloads.workload import Nest


@dataclass(frozen=True, slots=True)
class Mapping:
    """A layer laid on the array; names as in JSSC 2017, Table III.

    Attributes:
        e, n, m: output rows of a set; images and filters held in the buffer.
        p, q: filters and channels interleaved in an element.
        r, t: sets that sum over channels, and sets with other filters.
        fold_rows, fold_columns: pieces of a filter.
        active: elements that work.
    """

    e: int
    n: int
    m: int
    p: int
    q: int
    r: int
    t: int
    fold_rows: int
    fold_columns: int
    active: int


@dataclass(frozen=True, slots=True)
class Shape:
    """A nest as the array sees it: folded, and with counts that tiles may divide."""

    filters: int
    channels: int
    kernel_rows: int
    kernel_columns: int
    fold_rows: int
    fold_columns: int


def fold(nest: Nest, chip: Chip) -> Shape:
    """Filters cut to fit the array and its scratchpads."""
    pads = chip.scratchpads
    assert pads
    longest = min(pads.input_words, pads.weight_words)
    fold_rows = ceil(nest.kernel_rows / chip.array.rows)
    fold_columns = ceil(nest.kernel_columns / longest)
    return Shape(
        filters=tileable(nest.filters),
        channels=tileable(nest.channels) * fold_rows * fold_columns,
        kernel_rows=ceil(nest.kernel_rows / fold_rows),
        kernel_columns=ceil(nest.kernel_columns / fold_columns),
        fold_rows=fold_rows,
        fold_columns=fold_columns,
    )


def tileable(count: int) -> int:
    """Rounded up to whole words of a 64-bit bus, so that a prime number of channels has tiles."""
    return count if count < 4 else ceil(count / 4) * 4


def rows_read(nest: Nest, strips: int) -> int:
    """Input rows that the strips of a plane read: each reads its rim again."""
    stride, kernel = nest.stride[0], nest.kernel_rows
    if nest.dilation != (1, 1):
        return strips * nest.height
    return (
        nest.rows * stride + strips * (kernel - stride) if kernel > stride else nest.rows * kernel
    )


class Strips:
    """A plane cut into strips of e rows: what a pass over one of them waits for."""

    def __init__(self, nest: Nest, shape: Shape, e: int, m: int, chip: Chip) -> None:
        pads = chip.scratchpads
        assert pads
        strips = ceil(nest.rows / e)
        last = nest.rows - (strips - 1) * e
        self.heights = ((e, strips - 1), (last, 1)) if strips > 1 else ((last, 1),)
        self.stride, self.columns, self.m = nest.stride[0], nest.columns, m
        self.span = (nest.columns - 1) * nest.stride[1] + shape.kernel_columns
        self.kernel_rows, self.kernel_columns = shape.kernel_rows, shape.kernel_columns
        self.tiles = shape.filters // m
        self.channels = tileable(nest.channels) * shape.fold_rows * shape.fold_columns
        self.input_bus, self.weight_bus = pads.input_bus, pads.weight_bus
        self.sum_bus = pads.sum_bus

    def count(self, p: int, q: int, r: int, t: int, images: int) -> tuple[float, float]:
        """All cycles of one group of images, and those of its multipliers alone."""
        filters, channels, row = p * t, q * r, self.kernel_columns
        mac = p * q * images * self.columns * row
        load = filters * channels * self.kernel_rows * row / self.weight_bus
        sums = min(filters, self.m) * self.columns * images / self.sum_bus
        inputs = self.span * channels * images / self.input_bus
        fill = row * channels / self.input_bus
        total = macs = 0.0
        for e, strips in self.heights:
            height = (e - 1) * self.stride + self.kernel_rows
            total += strips * (max(mac, sums * e, inputs * height) + load + fill * height)
            macs += strips * mac
        passes = self.tiles * ceil(self.m / filters) * ceil(self.channels / channels)
        return passes * total, passes * macs


def _cycles(nest: Nest, shape: Shape, at: Mapping, chip: Chip) -> tuple[float, float]:
    """All cycles of a nest, and those of its multipliers alone."""
    strips = Strips(nest, shape, at.e, at.m, chip)
    whole, rest = divmod(nest.batch, at.n)
    total = macs = 0.0
    for images, groups in ((at.n, whole), (rest, 1)):
        if images and groups:
            cycles, busy = strips.count(at.p, at.q, at.r, at.t, images)
            total += nest.groups * groups * cycles
            macs += nest.groups * groups * busy
    return total, macs


def cost_of(nest: Nest, at: Mapping, chip: Chip) -> Execution:
    """Cycles and accesses of a nest on a mapping."""
    shape = fold(nest, chip)
    cycles, macs = _cycles(nest, shape, at, chip)
    channels = tileable(nest.channels) * at.fold_rows * at.fold_columns
    rounds = ceil(channels / (at.q * at.r))
    strips, tiles = ceil(nest.rows / at.e), shape.filters // at.m
    groups = ceil(nest.batch / at.n)
    rows = rows_read(nest, strips)
    planes = nest.batch * nest.groups * nest.channels
    inputs, weights, outputs = (
        planes * rows * nest.width * tiles,
        nest.weights * groups * strips,
        nest.outputs,
    )
    if not chip.memory.stores_padding:
        kept = (1 - nest.padding[0] / nest.height) * (1 - nest.padding[1] / nest.width)
        inputs = max(int(inputs * kept), nest.inputs)
    turns = ceil(at.m / (at.p * at.t))
    sums = outputs * (2 * rounds - 1)
    return Execution(
        cycles=cycles,
        compute_cycles=macs,
        macs=nest.macs,
        active=at.active,
        scratchpad=4 * nest.macs,
        network=Traffic(
            inputs=inputs * turns * min(shape.kernel_rows, at.e) * at.t,
            weights=weights * at.e,
            outputs=outputs * rounds * (2 + shape.kernel_rows * at.r - 1),
        ),
        buffer=Traffic(inputs * (1 + turns), 2 * weights, sums + outputs),
        dram=Traffic(inputs, weights, outputs),
    )
