"""XNOR and popcount on streams, bit-true: what a chip does in each cycle, many bits at a time.

Bits are packed along the features of one cycle, not along time: as many word operations, and each
cycle's sum is at hand for the counter that needs it (integral stochastic computing: Ardakani et
al., IEEE TVLSI 25(10), 2017).

A vector holds 16 features of each of 64 outputs, so that their sums grow in the 16 bits in which
the counters work, and the output bits of a vector are one word of the next layer's input. Kernels
read flat arrays at places of their own reckoning: numba counts who holds a slice, and that takes
as long as a third of a record's products.

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
LANES = ir.VectorType(ir.IntType(16), 64)
INDEX = ir.IntType(64)

# A vector of weights is read once for a tile of records, whose sums stay in registers. A block of
# records shares a group's weights while these are in the first cache, and a share of the records
# those of some cycles while they are in the second.
_FEATURES = llvmlite.binding.get_host_cpu_features()
TILE = 4 if _FEATURES.get("avx512bw") else 2
BLOCK, CYCLES, SHARE = 32, 8, 256


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
def _at_most_64(typing_context: Any, states: Any, at: Any, thresholds: Any, start: Any) -> Any:
    """64 comparisons to a word: bit j is states[at + j] <= thresholds[start + j]."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right = (
            _load(builder, _place(context, builder, signature.args[i], *arguments[i : i + 2]))
            for i in (0, 2)
        )
        return _to_word(builder, "<=", left, right, signed=False)

    return types.uint64(states, types.int64, thresholds, types.int64), emit


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


def _array(context: Any, builder: Any, kind: Any, part: Any) -> tuple[Any, ...]:
    """Of a tuple (array, numbers ...): where the array's data begin, and the numbers."""
    array, *numbers = (builder.extract_value(part, i) for i in range(len(kind)))
    return context.make_array(kind[0])(context, builder, array).data, *numbers


def _lanes(builder: Any, data: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), LANES.as_pointer())


def _count_unlike(builder: Any, rows: list[Any], w: Any, quarters: Any) -> list[Any]:
    """popcount(x ^ w) of each row of x: a loop over quarters of words, the sums in registers."""
    before, zero = builder.block, ir.Constant(LANES, None)
    loop, after = builder.append_basic_block("count"), builder.append_basic_block("counted")
    builder.branch(loop)
    builder.position_at_end(loop)
    q, sums = builder.phi(INDEX), [builder.phi(LANES) for _ in rows]
    weights = _load(builder, _lanes(builder, w, builder.mul(q, INDEX(64))))
    more = []
    for row, total in zip(rows, sums, strict=True):
        quarter = _spread(builder, builder.load(builder.gep(row, [q])))
        more.append(builder.add(total, _count_bits(builder, builder.xor(quarter, weights))))
    later = builder.add(q, INDEX(1))
    builder.cbranch(builder.icmp_signed("<", later, quarters), loop, after)
    for phi, first, last in [(q, INDEX(0), later), *zip(sums, [zero] * TILE, more, strict=True)]:
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
    builder.position_at_end(after)
    return more


@intrinsic  # type: ignore[untyped-decorator]
def _meet(
    typing_context: Any, num: Any, quarters: Any, x: Any, w: Any, base: Any, counters: Any,
    words: Any, sums: Any,
) -> Any:  # fmt: skip
    """A cycle of TILE records and 64 outputs; where `num` is less, the last is there repeatedly.

    Args:
        x: quarters of words, where the first record's are, and how far it is to the next's.
        w: weights, and where those of the group are.
        base: int16, where those of the group are, and a factor: see `multiply`.
        counters: int16, where the first record's 64 are, and the bound; 0: there are none.
        words: where the first record's is, how far it is to the next's, and which bits are outputs.
        sums: int16, where the first record's 64 are, and whether there are any.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        num, quarters, *parts = arguments
        (x, x_at, x_next), (w, w_at), (base, base_at, factor), counted, written, summed = (
            _array(context, builder, kind, part)
            for kind, part in zip(signature.args[2:], parts, strict=True)
        )
        last = builder.sub(num, INDEX(1))
        records = [
            builder.select(builder.icmp_signed("<", INDEX(r), last), INDEX(r), last)
            for r in range(TILE)
        ]

        def starts(data: Any, at: Any, step: Any) -> list[Any]:
            return [builder.gep(data, [builder.add(at, builder.mul(r, step))]) for r in records]

        counts = _count_unlike(builder, starts(x, x_at, x_next), builder.gep(w, [w_at]), quarters)
        bases, factor = _load(builder, _lanes(builder, base, base_at)), _spread(builder, factor)
        products = [builder.sub(bases, builder.mul(count, factor)) for count in counts]
        data, at, bound = counted
        with builder.if_then(builder.icmp_signed(">", bound, bound.type(0))):
            *to, outputs = written
            lowest = _spread(builder, builder.neg(bound))
            highest = _spread(builder, builder.sub(bound, bound.type(1)))
            for r, (product, word) in enumerate(zip(products, starts(*to), strict=True)):
                place = _lanes(builder, data, builder.add(at, INDEX(64 * r)))
                state = builder.add(_load(builder, place), product)
                state = builder.select(builder.icmp_signed(">", state, lowest), state, lowest)
                state = builder.select(builder.icmp_signed("<", state, highest), state, highest)
                _store(builder, state, place)
                bits = _to_word(builder, ">=", state, ir.Constant(LANES, None), signed=True)
                builder.store(builder.and_(bits, outputs), word)
        data, at, is_summed = summed
        with builder.if_then(is_summed):
            for r, product in enumerate(products):
                place = _lanes(builder, data, builder.add(at, INDEX(64 * r)))
                _store(builder, builder.add(_load(builder, place), product), place)
        return context.get_dummy_value()

    parts = (types.int64, types.int64, x, w, base, counters, words, sums)
    return types.void(*parts), emit


@intrinsic  # type: ignore[untyped-decorator]
def _add_64(typing_context: Any, totals: Any, at: Any, sums: Any, to: Any) -> Any:
    """Add totals[at : at + 64] to the int32 sums[to : to + 64]."""
    wide = ir.VectorType(ir.IntType(32), 64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], *arguments[:2])
        data = context.make_array(signature.args[2])(context, builder, arguments[2]).data
        to = builder.bitcast(builder.gep(data, [arguments[3]]), wide.as_pointer())
        more = builder.sext(_load(builder, place), wide)
        builder.store(builder.add(builder.load(to, align=4, typ=wide), more), to, align=4)
        return context.get_dummy_value()

    return types.void(totals, types.int64, sums, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def _ones(typing_context: Any, quarter: Any) -> Any:
    """Ones in a number of 16 bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint16(types.uint16), emit


@intrinsic  # type: ignore[untyped-decorator]
def _fetch(typing_context: Any, array: Any, at: Any) -> Any:
    """Ask for the cache line of array[at], to be read soon."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(prefetch, [place, whole(0), whole(3), whole(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), emit


# kernels


@inlined  # type: ignore[untyped-decorator]
def _compare(states: Any, at: int, thresholds: Any, start: int, num: int) -> Any:
    """As `_at_most_64`, of fewer than 64."""
    word = np.uint64(0)
    for i in range(num):
        word |= np.uint64(states[at + i] <= thresholds[start + i]) << np.uint64(i)
    return word


@compiled  # type: ignore[untyped-decorator]
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
                out[word + k] = _at_most_64(states, cycle + 64 * k, thresholds, row + 64 * k)
            if rest and whole:  # the last 64 features, of which some stand in the word before
                last = inputs - 64
                bits = _at_most_64(states, cycle + last, thresholds, row + last)
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


@compiled  # type: ignore[untyped-decorator]
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
                                _fetch(w, ahead + i * 32)
                            _meet(
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
        _add_64(totals, at, sums, to)
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
        ones = np.empty((len(w), w.shape[1], 64), np.int16)
        _count_ones(w, ones)
        return ones.reshape(len(w), -1)[:, :outputs], 1
    return np.full((len(w), outputs), inputs, np.int16), 2


@compiled  # type: ignore[untyped-decorator]
def _count_ones(w: Any, out: Any) -> None:
    """Ones of each output's weights in each cycle: w [L, G, Q, 64] -> int16 `out` [L, G, 64]."""
    for t in range(w.shape[0]):
        for g in range(w.shape[1]):
            out[t, g] = 0
            for q in range(w.shape[2]):
                for j in range(64):
                    out[t, g, j] += _ones(w[t, g, q, j])


@compiled  # type: ignore[untyped-decorator]
def unpack(words: Any, zero: float, out: Any) -> None:
    """Bits of words [N, K] as `zero` and 1: float32 `out` [N, I]."""
    low, high = np.float32(zero), np.float32(1)
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            bit = words[n, i >> 6] >> np.uint64(i & 63) & np.uint64(1)
            out[n, i] = high if bit else low
