"""XNOR and popcount on streams, bit-true: what a chip does in each cycle, many bits at a time.

Bits are packed along the features of one cycle, not along time: as many word operations, and each
cycle's sum is at hand for the counter that needs it (integral stochastic computing: Ardakani et
al., IEEE TVLSI 25(10), 2017).

A vector holds 16 features of each of 64 outputs, so that their sums grow in the 16 bits in which
the counters work, and the output bits of a vector are one word of the next layer's input.

Shapes: B records, L cycles, I inputs, O outputs, K = ceil(I / 64) words, Q = ceil(I / 16) quarters
of words, G = ceil(O / 64) groups of outputs. Inputs are uint64 [B, L, K], weights uint16
[L, G, Q, 64]; outputs beyond the last have weights of zero.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.arithmetic.dice import inlined
from clients.arithmetic.streams import vectors
from clients.arithmetic.streams.vectors import (
    TILE,
    add_64,
    at_most_64,
    fetch,
    meet,
    ones,
    set_where_at_most,
)
from privacy import compiling

Words = NDArray[np.uint64]
Quarters = NDArray[np.uint16]

LINE_BYTES = 64  # of a cache line: weights start on one, or each vector is read from two

# A block of records shares a group's weights while these are in the first cache, and a share of the
# records those of some cycles while they are in the second.
BLOCK, CYCLES, SHARE = 32, 8, 256

# numba makes what it keeps anew when this file changes, but not when the vectors' does.
_VECTORS = f"{zlib.crc32(Path(vectors.__file__).read_bytes()):08x}"


def compiled(kernel: Callable[..., Any]) -> Any:
    """A kernel that holds no GIL, kept under a name that tells the vectors' source."""
    kernel.__qualname__ += f"_{_VECTORS}"
    return compiling.compiled(kernel)


def num_words(features: int) -> int:
    """Words that hold one cycle of so many features."""
    return -(-features // 64)


def num_quarters(features: int) -> int:
    """16-bit quarters of words that hold one cycle of so many features."""
    return -(-features // 16)


@inlined  # type: ignore[untyped-decorator]
def _compare(states: Any, at: int, thresholds: Any, start: int, num: int) -> Any:
    """As `at_most_64`, of fewer than 64."""
    word = np.uint64(0)
    for i in range(num):
        word |= np.uint64(states[at + i] <= thresholds[start + i]) << np.uint64(i)
    return word


@compiled
def encode_inputs(thresholds: Any, states: Any, out: Words) -> None:
    """thresholds [B, I], states [L, I] -> streams `out` [B, L, K]."""
    B, L, K = out.shape
    inputs = states.shape[1]
    thresholds, states, out = thresholds.reshape(-1), states.reshape(-1), out.reshape(-1)
    whole, rest = inputs // 64, inputs % 64
    for b in range(B):
        for t in range(L):
            row, cycle, word = b * inputs, t * inputs, (b * L + t) * K
            for k in range(whole):
                out[word + k] = at_most_64(states, cycle + 64 * k, thresholds, row + 64 * k)
            if rest and whole:  # the last 64 features, of which some stand in the word before
                last = inputs - 64
                bits = at_most_64(states, cycle + last, thresholds, row + last)
                out[word + whole] = bits >> np.uint64(64 - rest)
            elif rest:
                out[word] = _compare(states, cycle, thresholds, row, rest)


def zeros(*shape: int) -> Quarters:
    """Of uint16, from the start of a cache line: a fifth of the products' time."""
    count = int(np.prod(shape))
    room = np.zeros(count + LINE_BYTES // 2, np.uint16)
    start = -room.ctypes.data % LINE_BYTES // 2
    return room[start : start + count].reshape(shape)


def encode_weights(thresholds: NDArray[np.uint16], states: NDArray[np.uint16]) -> Quarters:
    """thresholds [O, I], states [L, I] -> streams [L, G, Q, 64]."""
    inputs, groups = thresholds.shape[1], num_words(len(thresholds))
    by_group = np.zeros((groups, inputs, 64), np.uint16)  # no state is as low as zero
    for g in range(groups):
        rows = thresholds[64 * g : 64 * g + 64]
        by_group[g, :, : len(rows)] = rows.T
    out = zeros(len(states), groups, num_quarters(inputs), 64)
    _encode_groups(by_group, states, out)
    return out


@compiled
def _encode_groups(thresholds: Any, states: Any, out: Any) -> None:
    """thresholds [G, I, 64], states [L, I] -> `out` [L, G, Q, 64], zeros before."""
    for g in range(out.shape[1]):
        for t in range(out.shape[0]):
            for i in range(states.shape[1]):
                bit = np.uint16(1 << (i & 15))
                set_where_at_most(states[t, i], thresholds[g, i], bit, out[t, g, i >> 4])


def by_output(w: Quarters, outputs: int) -> Words:
    """Weights [L, G, Q, 64] as words of each output's features: [L, O, K]."""
    length, groups, quarters, lanes = w.shape
    rows = np.zeros((length, groups * lanes, 4 * -(-quarters // 4)), np.uint16)
    rows[..., :quarters] = w.transpose(0, 1, 3, 2).reshape(length, groups * lanes, quarters)
    return np.ascontiguousarray(rows.view(np.uint64)[:, :outputs])


def by_group(words: Words, inputs: int) -> Quarters:
    """What `by_output` was made of: [L, O, K] -> [L, G, Q, 64]."""
    length, outputs, _ = words.shape
    groups, quarters = num_words(outputs), num_quarters(inputs)
    rows = np.zeros((length, groups * 64, quarters), np.uint16)
    rows[:, :outputs] = words.view(np.uint16)[..., :quarters]
    return np.ascontiguousarray(rows.reshape(length, groups, 64, quarters).transpose(0, 1, 3, 2))


def multiply(
    x: Words,
    w: Quarters,
    base: NDArray[np.int16],
    factor: int,
    bound: int,
    words: Words,
    sums: NDArray[np.int32],
) -> None:
    """The cycles of a layer.

    In each, a record's products are the integers base[t, o] - factor * popcount(x ^ w). They are
    added to `sums`, and drive counters of 2 `bound` states whose bits fill `words`.

    Args:
        x: [B, L, K]
        w: [L, G, Q, 64]
        base: [L, O]
        words: [B, L, ceil(O / 64)], or empty.
        sums: [B, O], or empty.
        bound: at most 2^14, and the products at most 16 Q, and at most 2^15 less that.
    """
    groups, (length, outputs) = w.shape[1], base.shape
    bases = np.zeros((length, 64 * groups), np.int16)
    bases[:, :outputs] = base
    last = np.uint64(2 ** (outputs - 64 * (groups - 1)) - 1)  # in the last word, bits of outputs
    counters = zeros(groups * SHARE * 64 if words.size else 1).view(np.int16)
    totals = zeros(groups * BLOCK * 64 if sums.size else 1).view(np.int16)
    bound = bound if words.size else 0
    _multiply(x, w, bases, factor, bound, counters, last, words, totals, sums)


@compiled
def _multiply(
    x: Any, w: Any, base: Any, factor: int, bound: int, counters: Any, last: Any, words: Any,
    totals: Any, sums: Any,
) -> None:  # fmt: skip
    """Counters [G, SHARE, 64] and totals [G, BLOCK, 64] start on a cache line."""
    B, L, K = x.shape
    G, Q = w.shape[1], w.shape[2]
    is_summed = sums.size > 0
    x, w, base = x.reshape(-1).view(np.uint16), w.reshape(-1), base.reshape(-1)
    O, words, sums = sums.shape[1], words.reshape(-1), sums.reshape(-1)  # noqa: E741
    lines = -(-2 * Q * TILE // BLOCK)  # of the next group's weights, which each tile asks for
    cycles = max(1, min(CYCLES, 32767 // (16 * Q)))  # whose sum fits in 16 bits
    for share in range(0, B, SHARE):
        end = min(B, share + SHARE)
        counters[:] = 0
        for since in range(0, L, cycles):
            for block in range(share, end, BLOCK):
                stop = min(end, block + BLOCK)
                for t in range(since, min(L, since + cycles)):
                    for g in range(G):
                        group = t * G + g
                        outputs = last if g == G - 1 else np.uint64(0xFFFFFFFFFFFFFFFF)
                        for b in range(block, stop, TILE):
                            ahead = (group + 1) * Q * 64 + (b - block) // TILE * lines * 32
                            for i in range(lines):
                                fetch(w, ahead + i * 32)
                            meet(
                                min(TILE, end - b),
                                Q,
                                (x, (b * L + t) * 4 * K, L * 4 * K),
                                (w, group * Q * 64),
                                (base, group * 64, np.int16(factor)),
                                (counters, (g * SHARE + b - share) * 64, np.int16(bound)),
                                (words, (b * L + t) * G + g, L * G, outputs),
                                (totals, (g * BLOCK + b - block) * 64, is_summed),
                            )
                if is_summed:
                    for b in range(block, stop):
                        for g in range(G):
                            at = (g * BLOCK + b - block) * 64
                            _add(totals, at, sums, b * O + 64 * g, min(64, O - 64 * g))
                    totals[:] = 0


@inlined  # type: ignore[untyped-decorator]
def _add(totals: Any, at: int, sums: Any, to: int, num: int) -> None:
    if num == 64:
        add_64(totals, at, sums, to)
    else:
        for o in range(num):
            sums[to + o] += totals[at + o]


def base_and_factor(
    w: Quarters, inputs: int, outputs: int, zero: float
) -> tuple[NDArray[np.int16], int]:
    """What `multiply` needs to sum the products of weights and of inputs whose 0 means `zero`.

    -1: the XNOR sum, I - 2 popcount(x ^ w). 0: half of it and of the weights' ones less zeros, that
    is ones(w) - popcount(x ^ w).
    """
    if zero == 0:
        counts = np.empty((len(w), w.shape[1], 64), np.int16)
        _count_ones(w, counts)
        return counts.reshape(len(w), -1)[:, :outputs], 1
    return np.full((len(w), outputs), inputs, np.int16), 2


@compiled
def _count_ones(w: Any, out: Any) -> None:
    """Ones of each output's weights in each cycle: w [L, G, Q, 64] -> int16 `out` [L, G, 64]."""
    for t in range(w.shape[0]):
        for g in range(w.shape[1]):
            out[t, g] = 0
            for q in range(w.shape[2]):
                for j in range(64):
                    out[t, g, j] += ones(w[t, g, q, j])


@compiled
def unpack(words: Any, zero: float, out: Any) -> None:
    """Bits of words [N, K] as `zero` and 1: float32 `out` [N, I]."""
    low, high = np.float32(zero), np.float32(1)
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            bit = words[n, i >> 6] >> np.uint64(i & 63) & np.uint64(1)
            out[n, i] = high if bit else low
