"""XNOR and popcount on streams, bit-true: what a chip does in each cycle, 64 features at a time.

Bits are packed along the features of one cycle, not along time: as many word operations, and each
cycle's sum is at hand for the counter that needs it (integral stochastic computing: Ardakani et
al., IEEE TVLSI 25(10), 2017).

Shapes: B records, L cycles, I inputs, O outputs, K = ceil(I / 64) words. Inputs are [B, L, K],
weights [L, K, O], so that outputs lie side by side in a vector register.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from clients.arithmetic.dice import compiled, inlined, uniform

Words = NDArray[np.uint64]

BLOCK = 16  # records that share a cycle's weights while these are near


@intrinsic  # type: ignore[untyped-decorator]
def popcount(typing_context: Any, word: Any) -> Any:
    """LLVM's population count of a uint64: one instruction, also on vectors."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), emit


def num_words(features: int) -> int:
    """Words that hold one cycle of so many features."""
    return -(-features // 64)


def _load_64(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    """A vector of 64 int16 from a contiguous array [N], N >= start + 64."""
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(ir.IntType(16), 64)
    first = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
    return builder.load(first, align=2, typ=vector)


@intrinsic  # type: ignore[untyped-decorator]
def _at_most_64(typing_context: Any, states: Any, thresholds: Any, start: Any) -> Any:
    """64 comparisons to a word: bit j is states[start + j] <= thresholds[start + j]."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right = (
            _load_64(context, builder, signature.args[i], arguments[i], arguments[2])
            for i in (0, 1)
        )
        return builder.bitcast(builder.icmp_unsigned("<=", left, right), ir.IntType(64))

    return types.uint64(states, thresholds, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def _not_negative_64(typing_context: Any, numbers: Any, start: Any) -> Any:
    """64 signs to a word: bit j is numbers[start + j] >= 0."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _load_64(context, builder, signature.args[0], arguments[0], arguments[1])
        zero = ir.Constant(vector.type, None)
        return builder.bitcast(builder.icmp_signed(">=", vector, zero), ir.IntType(64))

    return types.uint64(numbers, types.int64), emit


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


@compiled  # type: ignore[untyped-decorator]
def encode_weights(thresholds: Any, states: Any, out: Words) -> None:
    """thresholds [O, I], states [L, I] -> streams `out` [L, K, O]."""
    for t in range(out.shape[0]):
        for k in range(out.shape[1]):
            for o in range(out.shape[2]):
                out[t, k, o] = _compare(states[t], thresholds[o], 64 * k)


@lru_cache(maxsize=32)
def multiplier(K: int) -> Callable[..., None]:
    """A kernel for inputs of K words; numba compiles it at its first call.

    `multiply(x, w, base, factor, bound, words, sums)`: x [B, L, K], w [L, K, O]. In each cycle, a
    record's products are the integers base[t, o] - factor * popcount(x ^ w). They are added to
    int32 `sums` [B, O], and drive counters of 2 `bound` states whose bits fill `words` [B, L, K'];
    either may be empty. base [L, O] int16.

    The loop over K is unrolled, that over outputs is vectorised.
    """

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def multiply(x: Any, w: Any, base: Any, factor: int, bound: int, words: Any, sums: Any) -> None:
        outputs, times = w.shape[2], np.int16(factor)
        lowest, highest = np.int16(-bound), np.int16(bound - 1)
        products = np.empty(outputs, np.int16)
        counters = np.empty((BLOCK, outputs), np.int16)
        for start in range(0, x.shape[0], BLOCK):
            stop = min(x.shape[0], start + BLOCK)
            counters[:] = 0
            for t in range(x.shape[1]):
                for b in range(start, stop):
                    for o in range(outputs):
                        unlike = np.uint64(0)
                        for k in range(K):
                            unlike += popcount(x[b, t, k] ^ w[t, k, o])
                        products[o] = base[t, o] - times * np.int16(unlike)
                    if len(sums):
                        _add(products, sums[b])
                    if len(words):
                        _count(products, lowest, highest, counters[b - start])
                        _pack(counters[b - start], words[b, t])

    return multiply


@inlined  # type: ignore[untyped-decorator]
def _add(products: Any, sums: Any) -> None:
    for o in range(len(products)):
        sums[o] += products[o]


@inlined  # type: ignore[untyped-decorator]
def _count(products: Any, lowest: Any, highest: Any, counter: Any) -> None:
    """One step of all counters: they go up and down by the integer, and stop at their ends."""
    for o in range(len(products)):
        state = np.int16(counter[o] + products[o])
        state = state if state > lowest else lowest
        counter[o] = state if state < highest else highest


@compiled  # type: ignore[untyped-decorator]
def _pack(counter: Any, words: Any) -> None:
    """The output bits: 1 in the upper half of the states."""
    whole = len(counter) // 64
    for k in range(whole):
        words[k] = _not_negative_64(counter, 64 * k)
    if whole < len(words):
        word = np.uint64(0)
        for o in range(64 * whole, len(counter)):
            word |= np.uint64(counter[o] >= 0) << np.uint64(o - 64 * whole)
        words[whole] = word


@compiled  # type: ignore[untyped-decorator]
def count_ones(w: Any, out: Any) -> None:
    """Ones of each output's weights in each cycle: w [L, K, O] -> int16 `out` [L, O]."""
    out[:] = 0
    for t in range(w.shape[0]):
        for k in range(w.shape[1]):
            for o in range(w.shape[2]):
                out[t, o] += np.int16(popcount(w[t, k, o]))


@compiled  # type: ignore[untyped-decorator]
def unpack(words: Any, zero: float, out: Any) -> None:
    """Bits of words [N, K] as `zero` and 1: float32 `out` [N, I]."""
    low, high = np.float32(zero), np.float32(1)
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            bit = words[n, i >> 6] >> np.uint64(i & 63) & np.uint64(1)
            out[n, i] = high if bit else low


@compiled  # type: ignore[untyped-decorator]
def flip(words: Any, features: int, rate: float, seed: int) -> int:
    """Flip each bit of streams [N, K] with probability `rate`; returns how many.

    From one flip to the next it draws the gap, which is geometric: few draws for few faults.
    """
    flips, draws, at = 0, 0, 0
    end = words.shape[0] * features
    while True:
        draw = np.float64(uniform(seed, draws)) + 2.0**-25  # never zero
        at += int(np.log(draw) / np.log1p(-rate))
        draws += 1
        if at >= end:
            return flips
        n, i = at // features, at % features
        words[n, i >> 6] ^= np.uint64(1) << np.uint64(i & 63)
        flips += 1
        at += 1
