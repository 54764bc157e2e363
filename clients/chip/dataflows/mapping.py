"""The mapping of a layer on a row-stationary array, found under the buffer's capacity.

As a compiler would, from the layer and the chip alone (names:
clients.chip.dataflows.row_stationary):
1. e, n and m: the least DRAM words, among those that leave at most a tenth of the busiest choice's
   elements idle in a full strip. m divides the filters. A set cut into strips stays at least half
   as wide as the array, as every set of JSSC 2017, Table III: narrower ones lose the reuse of
   inputs along the diagonals.
2. p, q, r and t, within the scratchpads and what the buffer has left for inputs: the fewest cycles.
   q r divides the channels. With n = 1 the next pass's inputs need a place of their own, if two
   fit at all; with n > 1 they replace those of the image just done.

They are rules, not a search of everything: a faster mapping often exists, and the silicon did not
use it either. The buses' widths and the banks are the chip's. The rules were chosen knowing the
paper's tables (its AlexNet mappings; that VGG-16 is slow where sums cross the buffer's bus), so on
these two networks they are a description as much as a prediction. No number was fitted.
"""

from bisect import bisect_right
from dataclasses import replace
from functools import cache, lru_cache
from math import ceil, isqrt
from typing import NamedTuple

from clients.chip.dataflows.execution import Execution
from clients.chip.dataflows.row_stationary import Mapping, Shape, Strips, cost_of, fold, rows_read
from clients.chip.hardware import Chip
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Nest


class _Tile(NamedTuple):
    """What the buffer holds: output rows, images and filters; and sets side by side.

    Attributes:
        input_words: read from DRAM for a record. `weight_words`: for a group of n images.
    """

    e: int
    n: int
    m: int
    sets: int
    input_words: int
    weight_words: int


def run(nest: Nest, chip: Chip, precision: Precision) -> Execution:
    """Cycles and accesses of a nest on the mapping found for it."""
    return cost_of(nest, find_mapping(nest, chip), chip)


def find_mapping(nest: Nest, chip: Chip) -> Mapping:
    """The mapping of a nest.

    Batches beyond `images` run on the mapping for `images`. A smaller batch gets a mapping of its
    own where that costs no more, at any level, than the next larger batch; else it runs as a part
    of that batch. So nothing ever gets cheaper by adding records.
    """
    pads = chip.scratchpads
    assert pads
    if nest.records_summed:
        return _find(replace(nest, channels=pads.images), chip)
    return _find(nest.with_batch(min(nest.batch, pads.images)), chip)


@lru_cache(maxsize=4096)
def _find(nest: Nest, chip: Chip) -> Mapping:
    assert chip.scratchpads
    shape = fold(nest, chip)
    images = 1 if nest.records_summed else chip.scratchpads.images
    tiles = _tiles(nest, shape, chip, images)
    passes = cache(lambda tile: _choose_pass(nest, shape, chip, tile))
    if nest.records_summed:
        return passes(min(tiles, key=lambda t: (t.input_words + t.weight_words, t.n)))
    chosen: Mapping | None = None
    limits: tuple[float, ...] | None = None  # what `chosen` costs for one record more
    for batch in range(images, nest.batch - 1, -1):
        words = [(batch * t.input_words + ceil(batch / t.n) * t.weight_words, t.n) for t in tiles]
        own = passes(tiles[words.index(min(words))])
        if chosen is None or own == chosen:
            chosen, limits = own, None
            continue
        limits = limits or _levels(nest.with_batch(batch + 1), chosen, chip)
        mine = _levels(nest.with_batch(batch), own, chip)
        if all(a <= b for a, b in zip(mine, limits, strict=True)):
            chosen, limits = own, mine
        else:
            limits = None
    assert chosen
    return chosen


def _levels(nest: Nest, at: Mapping, chip: Chip) -> tuple[float, ...]:
    """Cycles, and words moved at each level."""
    done = cost_of(nest, at, chip)
    return done.cycles, done.dram.words, done.buffer.words, done.network.words


@lru_cache(maxsize=1024)
def _divisors(count: int) -> tuple[int, ...]:
    """In rising order."""
    low = [d for d in range(1, isqrt(count) + 1) if count % d == 0]
    return tuple(dict.fromkeys([*low, *(count // d for d in reversed(low))]))


@lru_cache(maxsize=1024)
def _strips(rows: int, kernel_rows: int, products: int, chip: Chip) -> list[tuple[int, int]]:
    """Heights e that keep nine tenths of the busiest choice's elements at work, and their sets.

    Of heights that make equally many strips, the least: it leaves the most of the buffer.
    """
    array = chip.array
    down = array.rows // kernel_rows
    narrowest = min(rows, ceil(array.columns / 2))
    found = []
    for e in range(narrowest, min(rows, array.columns * down) + 1):
        if e <= array.columns:
            sets = down * (array.columns // e)
        else:
            sets = down // ceil(e / array.columns)
        found.append((e, min(sets, products)))
    most = max(e * sets for e, sets in found)
    kept: dict[int, tuple[int, int]] = {}
    for e, sets in found:
        if e * sets >= 0.9 * most:
            kept.setdefault(ceil(rows / e), (e, sets))
    return list(kept.values())


def _tiles(nest: Nest, shape: Shape, chip: Chip, images: int) -> list[_Tile]:
    """For each strip height and number of images, the most filters that the buffer holds."""
    memory = chip.memory
    sum_bytes, word_bytes = chip.sum_bits / 8, chip.word_bits / 8
    bank, banks = memory.bank_bytes, memory.buffer_bytes // memory.bank_bytes
    divisors = _divisors(shape.filters)
    stride, width = nest.stride[0], nest.width
    weights, tallest = nest.filters * nest.reduction, nest.height
    plane = nest.channels * width
    heights = _strips(
        nest.rows,
        shape.kernel_rows,
        min(shape.channels * shape.filters, chip.array.elements),
        chip,
    )
    found = []
    for e, sets in heights:
        strips = ceil(nest.rows / e)
        rows = rows_read(nest, strips)
        input_bytes = min((e - 1) * stride + shape.kernel_rows, tallest) * width * word_bytes
        for n in range(1, images + 1):
            left = (banks - ceil(n * input_bytes / bank)) * bank
            held = int(left / (n * e * nest.columns * sum_bytes))
            if held < 1:
                break
            m = divisors[bisect_right(divisors, held) - 1]
            found.append(
                _Tile(e, n, m, sets, plane * rows * (shape.filters // m), weights * strips)
            )
    if not found:  # not even a filter's sums fit: they are worked on in pieces
        e, sets = heights[0]
        found.append(_Tile(e, 1, 1, sets, plane * nest.rows * shape.filters, weights * nest.rows))
    return found


def _choose_pass(nest: Nest, shape: Shape, chip: Chip, tile: _Tile) -> Mapping:
    """The fastest p, q, r and t for a tile of n images."""
    pads = chip.scratchpads
    assert pads
    e, n, m, sets = tile[:4]
    limit = _channels_held(nest, shape, chip, e, n, m)
    row, channels = shape.kernel_columns, shape.channels
    images = nest.batch if nest.records_summed else n
    deepest = min(pads.input_words // row, pads.weight_words // row)
    strips = Strips(nest, shape, e, m, chip)
    best, chosen = float("inf"), (1, 1, 1, 1)
    for r in _quotients(sets):
        if r > limit and r > 1:
            break
        if channels % r:
            continue
        t = min(sets // r, m)
        q = min(deepest, max(limit // r, 1))
        while channels // r % q:
            q -= 1
        fewest = ceil(m / (t * min(pads.sum_words, pads.weight_words // (q * row))))
        for turns in (fewest, fewest + 1):
            p = ceil(m / (t * turns))
            cycles = strips.count(p, q, r, t, images)[0]
            if cycles < best:
                best, chosen = cycles, (p, q, r, t)
            if p * t * turns == m:
                break  # nothing is padded, so more turns only load more
    p, q, r, t = chosen
    active = shape.kernel_rows * e * r * t
    return Mapping(e, n, m, p, q, r, t, shape.fold_rows, shape.fold_columns, active)


@lru_cache(maxsize=256)
def _quotients(sets: int) -> list[int]:
    """How many sets may sum over channels, so that the others hold as many filters each."""
    return sorted({sets // t for t in range(1, sets + 1)})


def _channels_held(nest: Nest, shape: Shape, chip: Chip, e: int, n: int, m: int) -> int:
    memory = chip.memory
    sums = ceil(n * m * e * nest.columns * chip.sum_bits / 8 / memory.bank_bytes)
    left = (memory.buffer_bytes // memory.bank_bytes - sums) * memory.bank_bytes
    height = min((e - 1) * nest.stride[0] + shape.kernel_rows, nest.height)
    held = int(left // (n * height * nest.width * chip.word_bits / 8))
    return max(1, held // 2 if n == 1 else held)
