"""A tile of sums of products, for some records side by side, in vector registers.

`LANES` records are one vector: number i of all of them stands at [i * LANES : (i + 1) * LANES]. A
tile is `DOWN` x `ACROSS` sums over t, each a register that is written once all of t is added:

    out[d, a] = sum over t of left[down[d] + t * stride] * right[across[a] + along[t]]

`right` is a number of each record; `left` too, or one of all, a weight. LLVM is told the vectors
outright, as no compiler keeps so many sums in registers by itself; where a processor's are shorter,
so are these, and the tile is smaller.
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


def _vector(builder: Any, data: Any, at: Any) -> Any:
    place = builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())
    return builder.load(place, align=4)


def _spread(builder: Any, data: Any, at: Any) -> Any:
    """One number in all places of a vector."""
    one = builder.insert_element(
        ir.Constant(_VECTOR, ir.Undefined), builder.load(builder.gep(data, [at])), _INT(0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), zeros)


def _tile(read_left: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, down, right, across, along, out = (
            _data(context, builder, signature, arguments, i) for i in (0, 1, 3, 4, 5, 7)
        )
        stride, num = arguments[2], arguments[6]
        starts_d = [builder.load(builder.gep(down, [_INT(d)])) for d in range(DOWN)]
        starts_a = [builder.load(builder.gep(across, [_INT(a)])) for a in range(ACROSS)]
        before = builder.block
        loop, after = builder.append_basic_block("sum"), builder.append_basic_block("summed")
        builder.cbranch(builder.icmp_signed(">", num, _INT(0)), loop, after)
        builder.position_at_end(loop)
        t, moved = builder.phi(_INT), builder.phi(_INT)
        sums = [builder.phi(_VECTOR) for _ in range(DOWN * ACROSS)]
        ahead = builder.load(builder.gep(along, [t]))
        columns = [_vector(builder, right, builder.add(a, ahead)) for a in starts_a]
        more = []
        for d in range(DOWN):
            row = read_left(builder, left, builder.add(starts_d[d], moved))
            for a in range(ACROSS):
                product = builder.fmul(row, columns[a], flags=_FUSED)
                more.append(builder.fadd(sums[d * ACROSS + a], product, flags=_FUSED))
        next_t, next_moved = builder.add(t, _INT(1)), builder.add(moved, stride)
        builder.cbranch(builder.icmp_signed("<", next_t, num), loop, after)
        for phi, first, later in (
            (t, _INT(0), next_t),
            (moved, _INT(0), next_moved),
            *((s, ir.Constant(_VECTOR, None), m) for s, m in zip(sums, more, strict=True)),
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.position_at_end(after)
        for i, m in enumerate(more):
            total = builder.phi(_VECTOR)
            total.add_incoming(ir.Constant(_VECTOR, None), before)
            total.add_incoming(m, loop)
            sums[i] = total
        for i, total in enumerate(sums):
            place = builder.bitcast(builder.gep(out, [_INT(i * LANES)]), _VECTOR.as_pointer())
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return emit


@intrinsic  # type: ignore[untyped-decorator]
def weigh(
    typing_context: Any, left: Any, down: Any, stride: Any, right: Any, across: Any, along: Any,
    num: Any, out: Any,
) -> Any:  # fmt: skip
    """A tile whose left numbers are those of all records."""
    kinds = (left, down, types.int64, right, across, along, types.int64, out)
    return types.void(*kinds), _tile(_spread)


@intrinsic  # type: ignore[untyped-decorator]
def meet(
    typing_context: Any, left: Any, down: Any, stride: Any, right: Any, across: Any, along: Any,
    num: Any, out: Any,
) -> Any:  # fmt: skip
    """A tile whose left numbers are each record's own."""
    kinds = (left, down, types.int64, right, across, along, types.int64, out)
    return types.void(*kinds), _tile(_vector)
