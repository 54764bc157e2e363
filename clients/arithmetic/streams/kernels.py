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

import llvmlite.binding
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
_FEATURES = llvmlite.binding.get_host_cpu_features()
TILE = 4 if _FEATURES.get("avx512bw") else 2  # records whose sums are in registers side by side
BLOCK = 32  # records that share a cycle's weights while these are in the first cache
CYCLES = 8  # whose weights are in the second cache
SHARE = 256  # records that share those
LANES = ir.VectorType(ir.IntType(16), 64)
INDEX = ir.IntType(64)


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


def _part(context: Any, builder: Any, kind: Any, part: Any) -> tuple[Any, ...]:
    """Of a tuple (array, numbers ...): where the array's data begin, and the numbers."""
    array, *numbers = (builder.extract_value(part, i) for i in range(len(kind)))
    return context.make_array(kind[0])(context, builder, array).data, *numbers


def _lanes_at(builder: Any, data: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), LANES.as_pointer())


def _counts(builder: Any, join: str, rows: list[Any], listed: Any, num: Any, w: Any) -> list[Any]:
    """The sum over the listed quarters of popcount(row op w), for each row: a loop in registers."""
    before, index = builder.block, INDEX
    loop, after = builder.append_basic_block("meet"), builder.append_basic_block("met")
    builder.cbranch(builder.icmp_signed(">", num, index(0)), loop, after)
    builder.position_at_end(loop)
    i, sums = builder.phi(index), [builder.phi(LANES) for _ in rows]
    q = builder.load(builder.gep(listed, [i]))
    weights = _load(builder, _lanes_at(builder, w, builder.mul(q, index(64))))
    more = []
    for row, total in zip(rows, sums, strict=True):
        quarter = _spread(builder, builder.load(builder.gep(row, [q])))
        ones = _count_bits(builder, getattr(builder, join)(quarter, weights))
        more.append(builder.add(total, ones))
    later = builder.add(i, index(1))
    builder.cbranch(builder.icmp_signed("<", later, num), loop, after)
    zero = ir.Constant(LANES, None)
    for phi, first, next_ in [(i, index(0), later), *zip(sums, [zero] * len(rows), more, strict=True)]:
        phi.add_incoming(first, before)
        phi.add_incoming(next_, loop)
    builder.position_at_end(after)
    totals = [builder.phi(LANES) for _ in rows]
    for total, last in zip(totals, more, strict=True):
        total.add_incoming(zero, before)
        total.add_incoming(last, loop)
    return totals


def _tile(join: str, sign: str) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parts = [
            _part(context, builder, kind, part)
            for kind, part in zip(signature.args, arguments[:-1], strict=False)
        ]
        (x, x_at, x_row), (listed, num), (w, w_at), (base, base_at), counter, word, total = parts
        last = builder.sub(arguments[-1], INDEX(1))
        rows = []
        for r in range(TILE):  # beyond the last, the last once more
            row = builder.select(builder.icmp_signed("<", INDEX(r), last), INDEX(r), last)
            rows.append(row)
        counts = _counts(
            builder,
            join,
            [builder.gep(x, [builder.add(x_at, builder.mul(row, x_row))]) for row in rows],
            listed,
            num,
            builder.gep(w, [w_at]),
        )
        products = []
        for row, count in zip(rows, counts, strict=True):
            own = _spread(builder, builder.load(builder.gep(base, [builder.add(base_at, row)])))
            products.append(getattr(builder, sign)(own, builder.add(count, count)))
        data, at, bound = counter
        to, word_at, word_row, mask = word
        with builder.if_then(builder.icmp_signed(">", bound, bound.type(0))):
            lowest = _spread(builder, builder.neg(bound))
            highest = _spread(builder, builder.sub(bound, bound.type(1)))
            for r, (row, product) in enumerate(zip(rows, products, strict=True)):
                place = _lanes_at(builder, data, builder.add(at, INDEX(64 * r)))
                state = builder.add(_load(builder, place), product)
                state = builder.select(builder.icmp_signed(">", state, lowest), state, lowest)
                state = builder.select(builder.icmp_signed("<", state, highest), state, highest)
                _store(builder, state, place)
                bits = _to_word(builder, ">=", state, ir.Constant(LANES, None), signed=True)
                out = builder.gep(to, [builder.add(word_at, builder.mul(row, word_row))])
                builder.store(builder.and_(bits, mask), out)
        data, at, summed = total
        with builder.if_then(summed):
            wide = ir.VectorType(ir.IntType(32), 64)
            for r, product in enumerate(products):
                place = builder.gep(data, [builder.add(at, INDEX(64 * r))])
                place = builder.bitcast(place, wide.as_pointer())
                old = builder.load(place, align=4, typ=wide)
                builder.store(builder.add(old, builder.sext(product, wide)), place, align=4)
        return context.get_dummy_value()

    return emit


@intrinsic  # type: ignore[untyped-decorator]
def _meet_signs(
    typing_context: Any, x: Any, listed: Any, w: Any, base: Any, counters: Any, words: Any,
    sums: Any, rows: Any,
) -> Any:  # fmt: skip
    """One cycle of a tile of records and 64 outputs: base[r] - 2 popcount(x[r] ^ w[:, j])."""
    parts = (x, listed, w, base, counters, words, sums, types.int64)
    return types.void(*parts), _tile("xor", "sub")


@intrinsic  # type: ignore[untyped-decorator]
def _meet_bits(
    typing_context: Any, x: Any, listed: Any, w: Any, base: Any, counters: Any, words: Any,
    sums: Any, rows: Any,
) -> Any:  # fmt: skip
    """The same of inputs whose 0 adds nothing: base[r] + 2 popcount(x[r] & w[:, j])."""
    parts = (x, listed, w, base, counters, words, sums, types.int64)
    return types.void(*parts), _tile("and_", "add")


@intrinsic  # type: ignore[untyped-decorator]
def _count_ones(typing_context: Any, words: Any, start: Any, num: Any) -> Any:
    """Ones in words[start : start + num]."""
    wide = ir.VectorType(INDEX, 16)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        data = builder.gep(data, [arguments[1]])
        mask = ir.VectorType(ir.IntType(1), 16)
        kind = ir.FunctionType(wide, [wide.as_pointer(), ir.IntType(32), mask, wide])
        load = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.load.v16i64.p0v16i64")
        kind = ir.FunctionType(wide, [wide])
        ctpop = cgutils.get_or_insert_function(builder.module, kind, "llvm.ctpop.v16i64")
        kind = ir.FunctionType(INDEX, [wide])
        add = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.add.v16i64")
        zero = ir.Constant(wide, None)
        total = cgutils.alloca_once_value(builder, zero)
        count = builder.sdiv(builder.add(arguments[2], INDEX(15)), INDEX(16))
        with cgutils.for_range(builder, count, intp=INDEX) as loop:
            at = builder.mul(loop.index, INDEX(16))
            left = builder.insert_element(zero, builder.sub(arguments[2], at), ir.IntType(32)(0))
            left = builder.shuffle_vector(left, left, ir.Constant(ir.VectorType(ir.IntType(32), 16), None))
            present = builder.icmp_signed("<", ir.Constant(wide, list(range(16))), left)
            place = builder.bitcast(builder.gep(data, [at]), wide.as_pointer())
            ones = builder.call(ctpop, [builder.call(load, [place, ir.IntType(32)(8), present, zero])])
            builder.store(builder.add(builder.load(total), ones), total)
        return builder.call(add, [builder.load(total)])

    return types.int64(words, types.int64, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def _fetch(typing_context: Any, words: Any, at: Any) -> Any:
    """Ask for the cache line of words[at], to be read soon."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(prefetch, [place, whole(0), whole(3), whole(1)])
        return context.get_dummy_value()

    return types.void(words, types.int64), emit


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
    shape: tuple[int, int],
    zero: float,
    bound: int,
    words: Words,
    sums: NDArray[np.int32],
) -> None:
    """The cycles of a layer.

    In each, a record's products are integers. Where a 0 of the inputs means -1, that is the XNOR
    sum, I - 2 popcount(x ^ w); where it means 0, half of that and of the weights' ones less zeros:
    2 popcount(x & w) - popcount(x). They are added to `sums`, and drive counters of 2 `bound`
    states whose bits fill `words`.

    Args:
        x: [B, L, K]
        w: [L, G, Q, 64]
        shape: I, O
        zero: what a 0 of x means, -1 or 0.
        words: [B, L, ceil(O / 64)], or empty.
        sums: [B, O], or empty.
        bound: at most 2^14, and the products at most 2^15 less that; of no use without `words`.
    """
    inputs, outputs = shape
    last = (1 << (outputs - 1) % 64 << 1) - 1  # bits of the outputs in the last word
    bound = bound if words.size else 0
    counters = zeros(w.shape[1] * SHARE * 64).view(np.int16)
    totals = zeros(2 * w.shape[1] * SHARE * 64 if sums.size else 2).view(np.int32)
    _multiply(x, w, inputs, zero == 0, bound, np.uint64(last), words, sums, counters, totals)


@compiled  # type: ignore[untyped-decorator]
def _multiply(
    x: Any, w: Any, inputs: int, zeros: bool, bound: int, last: Any, words: Any, sums: Any,
    counters: Any, totals: Any,
) -> None:
    B, L, K = x.shape
    G, Q = w.shape[1], w.shape[2]
    is_summed = sums.size > 0
    flat_x, flat_w, flat_words = x.reshape(-1), w.reshape(-1), words.reshape(-1)
    quarters = flat_x.view(np.uint16)
    listed = np.arange(Q)
    lines = 2 * Q * TILE // BLOCK + 1
    base = np.full(BLOCK, inputs, np.int16)
    every = np.uint64(0xFFFFFFFFFFFFFFFF)
    for share in range(0, B, SHARE):
        end = min(B, share + SHARE)
        counters[:] = 0
        totals[:] = 0
        for since in range(0, L, CYCLES):
            for first in range(share, end, BLOCK):
                num = min(BLOCK, end - first)
                for t in range(since, min(L, since + CYCLES)):
                    if zeros:
                        for r in range(num):
                            base[r] = -_count_ones(flat_x, ((first + r) * L + t) * K, K)
                    for g in range(G):
                        mask = last if g == G - 1 else every
                        for r in range(0, num, TILE):
                            b = first + r
                            x_part = quarters, (b * L + t) * 4 * K, L * 4 * K
                            ahead = ((t * G + g + 1) * Q * 2 + r // TILE * lines) * 32
                            for i in range(lines):
                                _fetch(flat_w, ahead + i * 32)
                            at = (g * SHARE + b - share) * 64
                            parts = (
                                x_part,
                                (listed, Q),
                                (flat_w, (t * G + g) * Q * 64),
                                (base, r),
                                (counters, at, np.int16(bound)),
                                (flat_words, (b * L + t) * G + g, L * G, mask),
                                (totals, at, is_summed),
                            )
                            if zeros:
                                _meet_bits(*parts, min(TILE, num - r))
                            else:
                                _meet_signs(*parts, min(TILE, num - r))
        if is_summed:
            for b in range(share, end):
                for o in range(sums.shape[1]):
                    sums[b, o] += totals[((o >> 6) * SHARE + b - share) * 64 + (o & 63)]


@compiled  # type: ignore[untyped-decorator]
def unpack(words: Any, zero: float, out: Any) -> None:
    """Bits of words [N, K] as `zero` and 1: float32 `out` [N, I]."""
    low, high = np.float32(zero), np.float32(1)
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            bit = words[n, i >> 6] >> np.uint64(i & 63) & np.uint64(1)
            out[n, i] = high if bit else low
