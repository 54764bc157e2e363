"""Arithmetic modulo a prime in float64, exact: as vectors of the processor have it.

A product x w is h + l, its rounded value and what rounding took, by one fused multiplication and
addition; with q the nearest integer to h / p, the rest is h - q p + l, both steps exact (van der
Hoeven, Lecerf and Quintin 2016, section 3). It is below 7/8 p in magnitude where |x| <= 2 p and
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


def balanced(x: int, p: int) -> int:
    """A number from 0 to p - 1 as one from -p / 2 to p / 2."""
    return x - p if 2 * x > p else x
