"""A tile of sums of products, for some records side by side, in vector registers.

`LANES` records are one vector: number i of all of them stands at [i * LANES : (i + 1) * LANES]. A
tile is `DOWN` x `ACROSS` sums over t < num, each a register that is written once all is added:

    weigh: out[start + d * line + a * LANES] =
               sum of weights[down[d] + t * stride] * x[across[a] + along[t]]
    meet:  out[start + a * line + d * LANES] =
               sum of x[down[d] + along[t]] * g[across[a] + t * stride]

where a weight is one number for all records. LLVM is told the vectors outright, as no compiler
keeps so many sums in registers by itself; where a processor's are shorter, so are these, and the
tile is smaller.
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Records to a vector, and the sums of a tile: what registers hold beside the numbers to multiply.
_FEATURES = llvmlite.binding.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx2") else 4
DOWN, ACROSS = (8, 3) if LANES == 16 else (4, 3)

_INT, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FUSED = ("contract",)


def _data(context: Any, builder: Any, signature: Any, arguments: Any, i: int) -> Any:
    return context.make_array(signature.args[i])(context, builder, arguments[i]).data


def _place(builder: Any, data: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _vector(builder: Any, data: Any, at: Any) -> Any:
    return builder.load(_place(builder, data, at), align=4)


def _spread(builder: Any, data: Any, at: Any) -> Any:
    """One number in all places of a vector."""
    one = builder.insert_element(
        ir.Constant(_VECTOR, ir.Undefined), builder.load(builder.gep(data, [at])), _INT(0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), zeros)


def _tile(left_is_weights: bool) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, down, right, across, along, out = (
            _data(context, builder, signature, arguments, i) for i in (0, 1, 2, 3, 4, 7)
        )
        stride, num, start, line = (arguments[i] for i in (5, 6, 8, 9))
        starts_d = [builder.load(builder.gep(down, [_INT(d)])) for d in range(DOWN)]
        starts_a = [builder.load(builder.gep(across, [_INT(a)])) for a in range(ACROSS)]
        before = builder.block
        loop, after = builder.append_basic_block("sum"), builder.append_basic_block("summed")
        builder.cbranch(builder.icmp_signed(">", num, _INT(0)), loop, after)
        builder.position_at_end(loop)
        t, strode = builder.phi(_INT), builder.phi(_INT)
        sums = [builder.phi(_VECTOR) for _ in range(DOWN * ACROSS)]
        listed = builder.load(builder.gep(along, [t]))
        read, to_d, to_a = (
            (_spread, strode, listed) if left_is_weights else (_vector, listed, strode)
        )
        columns = [_vector(builder, right, builder.add(a, to_a)) for a in starts_a]
        more = []
        for d in range(DOWN):
            row = read(builder, left, builder.add(starts_d[d], to_d))
            for a in range(ACROSS):
                product = builder.fmul(row, columns[a], flags=_FUSED)
                more.append(builder.fadd(sums[d * ACROSS + a], product, flags=_FUSED))
        next_t, next_strode = builder.add(t, _INT(1)), builder.add(strode, stride)
        builder.cbranch(builder.icmp_signed("<", next_t, num), loop, after)
        zero = ir.Constant(_VECTOR, None)
        phis = [(t, _INT(0), next_t), (strode, _INT(0), next_strode)]
        phis += [(phi, zero, later) for phi, later in zip(sums, more, strict=True)]
        for phi, first, later in phis:
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.position_at_end(after)
        totals = [builder.phi(_VECTOR) for _ in sums]
        for total, last in zip(totals, more, strict=True):
            total.add_incoming(zero, before)
            total.add_incoming(last, loop)
        for i, total in enumerate(totals):
            d, a = divmod(i, ACROSS)
            lines, vectors = (d, a) if left_is_weights else (a, d)
            at = builder.add(builder.mul(line, _INT(lines)), _INT(vectors * LANES))
            place = _place(builder, out, builder.add(start, at))
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return emit


@intrinsic  # type: ignore[untyped-decorator]
def weigh(
    typing_context: Any, weights: Any, down: Any, x: Any, across: Any, along: Any, stride: Any,
    num: Any, out: Any, start: Any, line: Any,
) -> Any:  # fmt: skip
    """A tile of products with weights."""
    whole = types.int64
    kinds = (weights, down, x, across, along, whole, whole, out, whole, whole)
    return types.void(*kinds), _tile(True)


@intrinsic  # type: ignore[untyped-decorator]
def meet(
    typing_context: Any, x: Any, down: Any, g: Any, across: Any, along: Any, stride: Any,
    num: Any, out: Any, start: Any, line: Any,
) -> Any:  # fmt: skip
    """A tile of products of what each record has."""
    whole = types.int64
    kinds = (x, down, g, across, along, whole, whole, out, whole, whole)
    return types.void(*kinds), _tile(False)


@intrinsic  # type: ignore[untyped-decorator]
def add_vector(typing_context: Any, out: Any, to: Any, x: Any, at: Any) -> Any:
    """out[to : to + LANES] += x[at : at + LANES]"""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, x = (_data(context, builder, signature, arguments, i) for i in (0, 2))
        own = _vector(builder, out, arguments[1])
        total = builder.fadd(own, _vector(builder, x, arguments[3]))
        builder.store(total, _place(builder, out, arguments[1]), align=4)
        return context.get_dummy_value()

    return types.void(out, types.int64, x, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def add_squares(typing_context: Any, x: Any, num: Any, out: Any) -> Any:
    """Add the squares of vectors x, four times `num` of them, to `out`, in float64."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, out = (_data(context, builder, signature, arguments, i) for i in (0, 2))
        wide = ir.VectorType(ir.DoubleType(), LANES)
        before = builder.block
        loop, after = builder.append_basic_block("square"), builder.append_basic_block("squared")
        builder.cbranch(builder.icmp_signed(">", arguments[1], _INT(0)), loop, after)
        builder.position_at_end(loop)
        t, sums = builder.phi(_INT), [builder.phi(wide) for _ in range(4)]
        more = []
        for i, total in enumerate(sums):
            at = builder.add(builder.mul(t, _INT(4 * LANES)), _INT(i * LANES))
            v = builder.fpext(_vector(builder, x, at), wide)
            more.append(builder.fadd(total, builder.fmul(v, v, flags=_FUSED), flags=_FUSED))
        later = builder.add(t, _INT(1))
        builder.cbranch(builder.icmp_signed("<", later, arguments[1]), loop, after)
        zero = ir.Constant(wide, None)
        for phi, first, next_ in [(t, _INT(0), later), *zip(sums, [zero] * 4, more, strict=True)]:
            phi.add_incoming(first, before)
            phi.add_incoming(next_, loop)
        builder.position_at_end(after)
        parts = [builder.phi(wide) for _ in more]
        for part, last in zip(parts, more, strict=True):
            part.add_incoming(zero, before)
            part.add_incoming(last, loop)
        place = builder.bitcast(out, wide.as_pointer())
        total = builder.load(place, align=8)
        for part in parts:
            total = builder.fadd(total, part)
        builder.store(total, place, align=8)
        return context.get_dummy_value()

    return types.void(x, types.int64, out), emit


@intrinsic  # type: ignore[untyped-decorator]
def mix(typing_context: Any, x: Any, at: Any, factors: Any, out: Any, to: Any) -> Any:
    """out[to + i] = sum of x[at + i * LANES + s] * factors[s] over the records s, i < LANES."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, factors, out = (_data(context, builder, signature, arguments, i) for i in (0, 2, 3))
        by = _vector(builder, factors, _INT(0))
        parts = []
        for i in range(LANES):
            place = builder.add(arguments[1], _INT(i * LANES))
            parts.append(builder.fmul(_vector(builder, x, place), by))
        size = LANES  # of what is left of a row in a vector
        while size > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [_halve(builder, a, b, size) for a, b in pairs]
            size //= 2
        builder.store(parts[0], _place(builder, out, arguments[4]), align=4)
        return context.get_dummy_value()

    return types.void(x, types.int64, factors, out, types.int64), emit


def _halve(builder: Any, a: Any, b: Any, size: int) -> Any:
    """Each `size` numbers of two vectors are added to half as many, in one vector."""
    kind, half = ir.VectorType(ir.IntType(32), LANES), size // 2
    lower = [start + i for start in range(0, 2 * LANES, size) for i in range(half)]
    parts = (
        builder.shuffle_vector(a, b, ir.Constant(kind, [i + more for i in lower]))
        for more in (0, half)
    )
    return builder.fadd(*parts)
