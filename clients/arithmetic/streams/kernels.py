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

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from clients.arithmetic.dice import inlined
from privacy.compiling import compiled

Words = NDArray[np.uint64]
Quarters = NDArray[np.uint16]

LINE_BYTES = 64  # of a cache line: weights start on one, or each vector is read from two
BLOCK = 16  # records that share a cycle's weights while these are near
LANES = ir.VectorType(ir.IntType(16), 64)


def num_words(features: int) -> int:
    """Words that hold one cycle of so many features."""
    return -(-features // 64)


def num_quarters(features: int) -> int:
    """16-bit quarters of words that hold one cycle of so many features."""
    return -(-features // 16)


# vectors of 64 numbers of 16 bits, as LLVM has them: one instruction or a few, on any machine


def _place(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    """Where 64 numbers lie in a contiguous array of 16-bit integers."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), LANES.as_pointer())


def _load(builder: Any, place: Any) -> Any:
    return builder.load(place, align=2, typ=LANES)


def _store(builder: Any, vector: Any, place: Any) -> None:
    builder.store(vector, place, align=2)


def _spread(builder: Any, number: Any) -> Any:
    """One number in all lanes."""
    first = builder.insert_element(ir.Constant(LANES, ir.Undefined), number, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), 64), None)
    return builder.shuffle_vector(first, first, mask)


def _count_bits(builder: Any, vector: Any) -> Any:
    kind = ir.FunctionType(LANES, [LANES])
    ctpop = cgutils.get_or_insert_function(builder.module, kind, "llvm.ctpop.v64i16")
    return builder.call(ctpop, [vector])


def _to_word(builder: Any, relation: str, left: Any, right: Any, *, signed: bool) -> Any:
    """64 comparisons to the bits of a word."""
    compare = builder.icmp_signed if signed else builder.icmp_unsigned
    return builder.bitcast(compare(relation, left, right), ir.IntType(64))


@intrinsic  # type: ignore[untyped-decorator]
def _at_most_64(typing_context: Any, states: Any, thresholds: Any, start: Any) -> Any:
    """64 comparisons to a word: bit j is states[start + j] <= thresholds[start + j]."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right = (
            _load(builder, _place(context, builder, kind, array, arguments[2]))
            for kind, array in zip(signature.args[:2], arguments[:2], strict=True)
        )
        return _to_word(builder, "<=", left, right, signed=False)

    return types.uint64(states, thresholds, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def _set_where_at_most(typing_context: Any, state: Any, thresholds: Any, bit: Any, out: Any) -> Any:
    """Add `bit` to out[j] where state <= thresholds[j], for 64 outputs j."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nowhere = ir.Constant(ir.IntType(64), 0)
        row, place = (
            _place(context, builder, signature.args[i], arguments[i], nowhere) for i in (1, 3)
        )
        state, bit = (_spread(builder, arguments[i]) for i in (0, 2))
        old = _load(builder, place)
        where = builder.icmp_unsigned("<=", state, _load(builder, row))
        _store(builder, builder.select(where, builder.add(old, bit), old), place)
        return context.get_dummy_value()

    return types.void(types.uint16, thresholds, types.uint16, out), emit


@intrinsic  # type: ignore[untyped-decorator]
def _sum_products(
    typing_context: Any, x: Any, w: Any, steps: Any, base: Any, factor: Any, out: Any
) -> Any:
    """out[j] = base[j] - factor * popcount(x ^ w[:, j]): x [>= Q], w [Q, 64], base and out [64]."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, w, steps, _, factor, _ = arguments
        data = context.make_array(signature.args[0])(context, builder, x).data
        unlike = cgutils.alloca_once_value(builder, ir.Constant(LANES, None))
        with cgutils.for_range(builder, steps, intp=ir.IntType(64)) as loop:
            quarter = _spread(builder, builder.load(builder.gep(data, [loop.index])))
            start = builder.mul(loop.index, ir.Constant(ir.IntType(64), 64))
            weights = _load(builder, _place(context, builder, signature.args[1], w, start))
            ones = _count_bits(builder, builder.xor(quarter, weights))
            builder.store(builder.add(builder.load(unlike), ones), unlike)
        nowhere = ir.Constant(ir.IntType(64), 0)
        base, out = (
            _place(context, builder, signature.args[i], arguments[i], nowhere) for i in (3, 5)
        )
        times = builder.mul(builder.load(unlike), _spread(builder, factor))
        _store(builder, builder.sub(_load(builder, base), times), out)
        return context.get_dummy_value()

    return types.void(x, w, types.int64, base, types.int16, out), emit


@intrinsic  # type: ignore[untyped-decorator]
def _step_counters(typing_context: Any, products: Any, counters: Any, bound: Any) -> Any:
    """One step of 64 counters: up and down by the integer, and no further than their ends.

    Returns the output bits: 1 in the upper half of the 2 `bound` states.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nowhere, one = ir.Constant(ir.IntType(64), 0), ir.Constant(ir.IntType(16), 1)
        places = [
            _place(context, builder, signature.args[i], arguments[i], nowhere) for i in (0, 1)
        ]
        lowest = _spread(builder, builder.neg(arguments[2]))
        highest = _spread(builder, builder.sub(arguments[2], one))
        state = builder.add(*(_load(builder, place) for place in places))
        state = builder.select(builder.icmp_signed(">", state, lowest), state, lowest)
        state = builder.select(builder.icmp_signed("<", state, highest), state, highest)
        _store(builder, state, places[1])
        return _to_word(builder, ">=", state, ir.Constant(LANES, None), signed=True)

    return types.uint64(products, counters, types.int16), emit


# kernels


@inlined  # type: ignore[untyped-decorator]
def _compare(states: Any, thresholds: Any, start: Any) -> Any:
    """The word of features `start` to `start` + 63, or to the last."""
    if start + 64 <= len(states):
        return _at_most_64(states, thresholds, start)
    word = np.uint64(0)
    for i in range(start, len(states)):
        word |= np.uint64(states[i] <= thresholds[i]) << np.uint64(i - start)
    return word


@compiled  # type: ignore[untyped-decorator]
def encode_inputs(thresholds: Any, states: Any, out: Words) -> None:
    """thresholds [B, I], states [L, I] -> streams `out` [B, L, K]."""
    for b in range(out.shape[0]):
        for t in range(out.shape[1]):
            for k in range(out.shape[2]):
                out[b, t, k] = _compare(states[t], thresholds[b], 64 * k)


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


@compiled  # type: ignore[untyped-decorator]
def _encode_groups(thresholds: Any, states: Any, out: Any) -> None:
    """thresholds [G, I, 64], states [L, I] -> `out` [L, G, Q, 64], zeros before."""
    for g in range(out.shape[1]):
        for t in range(out.shape[0]):
            for i in range(states.shape[1]):
                bit = np.uint16(1 << (i & 15))
                _set_where_at_most(states[t, i], thresholds[g, i], bit, out[t, g, i >> 4])


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
        base: [L, 64 G]
        words: [B, L, ceil(O / 64)], or empty.
        sums: [B, O], or empty.
        bound: at most 2^14, and the products at most 2^15 less that.
    """
    _multiply(x.view(np.uint16), w, base, factor, bound, words, sums)


@compiled  # type: ignore[untyped-decorator]
def _multiply(x: Any, w: Any, base: Any, factor: int, bound: int, words: Any, sums: Any) -> None:
    groups, quarters = w.shape[1], w.shape[2]
    products = np.empty(64, np.int16)
    counters = np.empty((groups, BLOCK, 64), np.int16)
    for start in range(0, x.shape[0], BLOCK):
        stop = min(x.shape[0], start + BLOCK)
        counters[:] = 0
        for t in range(x.shape[1]):
            for g in range(groups):
                ours, bases = w[t, g], base[t, 64 * g : 64 * g + 64]
                for b in range(start, stop):
                    _sum_products(x[b, t], ours, quarters, bases, np.int16(factor), products)
                    if len(sums):
                        _add(products, sums[b, 64 * g : 64 * g + 64])
                    if len(words):
                        row = counters[g, b - start]
                        words[b, t, g] = _step_counters(products, row, np.int16(bound))


@inlined  # type: ignore[untyped-decorator]
def _add(products: Any, sums: Any) -> None:
    for o in range(len(sums)):
        sums[o] += products[o]


def base_and_factor(
    w: Quarters, inputs: int, outputs: int, zero: float
) -> tuple[NDArray[np.int16], int]:
    """What `multiply` needs to sum the products of weights and of inputs whose 0 means `zero`.

    -1: the XNOR sum, I - 2 popcount(x ^ w). 0: half of it and of the weights' ones less zeros, that
    is ones(w) - popcount(x ^ w). The counters of outputs that are none never give a 1.
    """
    base, factor = np.full((w.shape[0], 64 * w.shape[1]), inputs, np.int16), 2
    if zero == 0:
        _count_ones(w, base)
        factor = 1
    base[:, outputs:] = -1
    return base, factor


@compiled  # type: ignore[untyped-decorator]
def _count_ones(w: Any, out: Any) -> None:
    """Ones of each output's weights in each cycle: w [L, G, Q, 64] -> int16 `out` [L, 64 G]."""
    nothing, zero = np.zeros(w.shape[2], np.uint16), np.zeros(64, np.int16)
    for t in range(w.shape[0]):
        for g in range(w.shape[1]):
            ones = out[t, 64 * g : 64 * g + 64]
            _sum_products(nothing, w[t, g], w.shape[2], zero, np.int16(-1), ones)


@compiled  # type: ignore[untyped-decorator]
def unpack(words: Any, zero: float, out: Any) -> None:
    """Bits of words [N, K] as `zero` and 1: float32 `out` [N, I]."""
    low, high = np.float32(zero), np.float32(1)
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            bit = words[n, i >> 6] >> np.uint64(i & 63) & np.uint64(1)
            out[n, i] = high if bit else low
