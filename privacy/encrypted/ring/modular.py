"""Arithmetic modulo a prime in float64, exact: as vectors of the processor have it.

A product x w is h + l, its rounded value and what rounding took, by one fused multiplication and
addition; with q the nearest integer to h / p, the rest is h - q p + l, both steps exact (van der
Hoeven, Lecerf and Quintin 2016, section 3). It is below p in magnitude where |x| <= 2.5 p and
|w| <= p / 2, and p has at most 50 bits; it may be negative. Numbers stay such rests until they
leave, and sums of a few are not reduced at all.

Shapes: N the ring's degree, L primes.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

Residues = NDArray[np.float64]
Words = NDArray[np.uint64]
Places = NDArray[np.int64]

MOST_PRIME_BITS = 50
EXACT_BITS = 50  # of sums that are not reduced: four are whole in a float64

_FILES = sorted(Path(__file__).parent.glob("*.py"))
_CONTENT = f"{zlib.crc32(b''.join(path.read_bytes() for path in _FILES)):08x}"


def compiled(kernel: Callable[..., Any]) -> Any:
    """A kernel that is kept under a name that tells what stands in this room's files.

    numba makes what it keeps anew when the kernel's file changes, not when that of another does.
    """
    kernel.__qualname__ += f"_{_CONTENT}"
    return numba.njit(nogil=True, cache=True, error_model="numpy")(kernel)


def machine_fits() -> bool:
    """Whether the processor has a fused multiplication and addition; by a library it is slow."""
    features = llvm.get_host_cpu_features()
    return bool(features.get("fma", False)) or llvm.get_default_triple().startswith("aarch64")


def _multiplied(builder: Any, x: Any, w: Any, p: Any, inverse: Any) -> Any:
    h = builder.fmul(x, w)
    low = builder.fma(x, w, builder.fneg(h))
    q = _nearest(builder, builder.fmul(h, inverse))
    return builder.fadd(builder.fma(builder.fneg(q), p, h), low)


def _nearest(builder: Any, x: Any) -> Any:
    function = builder.module.declare_intrinsic("llvm.nearbyint", [ir.DoubleType()])
    return builder.call(function, [x])


@intrinsic  # type: ignore[untyped-decorator]
def multiply(typing: Any, x: Any, w: Any, p: Any, inverse: Any) -> Any:
    """x w modulo p; `inverse` is 1 / p."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _multiplied(builder, *arguments)

    return types.float64(*[types.float64] * 4), code


@intrinsic  # type: ignore[untyped-decorator]
def reduce(typing: Any, x: Any, p: Any, inverse: Any) -> Any:
    """x modulo p, at most p / 2 in magnitude but for rounding in its last place."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, p, inverse = arguments
        q = _nearest(builder, builder.fmul(x, inverse))
        return builder.fma(builder.fneg(q), p, x)

    return types.float64(*[types.float64] * 3), code


@intrinsic  # type: ignore[untyped-decorator]
def transpose(
    typing: Any, source: Any, start: Any, step: Any, target: Any, to: Any, by: Any
) -> Any:
    """Eight rows of eight numbers, each `step` from the last, as columns that are `by` apart."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        read, start, step, write, to, by = arguments
        vector, bit32 = ir.VectorType(ir.DoubleType(), 8), ir.IntType(32)

        def place(kind: Any, array: Any, at: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())

        rows = []
        for _ in range(8):
            rows.append(builder.load(place(kinds[0], read, start), align=8, typ=vector))
            start = builder.add(start, step)
        for width in (1, 2, 4):  # exchange blocks of so many numbers
            low = [i % (2 * width) + (i // (2 * width)) * 2 * width for i in range(8)]
            first = [i if i % (2 * width) < width else i - width + 8 for i in low]
            second = [i + width if i % (2 * width) < width else i + 8 for i in low]
            masks = [
                ir.Constant(ir.VectorType(bit32, 8), [bit32(i) for i in order])
                for order in (first, second)
            ]
            for r in range(8):
                if r & width == 0:
                    u, v = rows[r], rows[r + width]
                    rows[r] = builder.shuffle_vector(u, v, masks[0])
                    rows[r + width] = builder.shuffle_vector(u, v, masks[1])
        for row in rows:
            builder.store(row, place(kinds[3], write, to), align=8)
            to = builder.add(to, by)
        return context.get_dummy_value()

    whole = types.int64
    return types.void(source, whole, whole, target, whole, whole), code


def balanced(x: int, p: int) -> int:
    """A number from 0 to p - 1 as one from -p / 2 to p / 2."""
    return x - p if 2 * x > p else x
