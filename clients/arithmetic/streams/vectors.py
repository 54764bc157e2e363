"""Vectors of 64 numbers of 16 bits, as LLVM has them: one instruction or a few, on any machine.

Arrays are flat, and told with the places to read: numba counts who holds a slice, and in each
record and cycle that takes as long as a third of its products.

Shapes: Q = ceil(inputs / 16) quarters of words.
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = ir.VectorType(ir.IntType(16), 64)
INDEX = ir.IntType(64)

# Records whose sums stay in registers side by side, while each vector of weights is read once.
TILE = 4 if llvmlite.binding.get_host_cpu_features().get("avx512bw") else 2


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
def at_most_64(typing_context: Any, states: Any, at: Any, thresholds: Any, start: Any) -> Any:
    """64 comparisons to a word: bit j is states[at + j] <= thresholds[start + j]."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right = (
            _load(builder, _place(context, builder, signature.args[i], *arguments[i : i + 2]))
            for i in (0, 2)
        )
        return _to_word(builder, "<=", left, right, signed=False)

    return types.uint64(states, types.int64, thresholds, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def set_where_at_most(typing_context: Any, state: Any, thresholds: Any, bit: Any, out: Any) -> Any:
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
def meet(
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
def add_64(typing_context: Any, totals: Any, at: Any, sums: Any, to: Any) -> Any:
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
def ones(typing_context: Any, quarter: Any) -> Any:
    """Ones in a number of 16 bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint16(types.uint16), emit


@intrinsic  # type: ignore[untyped-decorator]
def fetch(typing_context: Any, array: Any, at: Any) -> Any:
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
