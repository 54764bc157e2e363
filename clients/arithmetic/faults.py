"""Faults: bits of words and of streams that flip, as they would in a device's memory.

Faults strike in evaluation only. Which bits is a function of the numbers themselves, so that a
result does not depend on the order in which a test set is walked through.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from clients.arithmetic.dice import MASK, uniform
from privacy.compiling import compiled


@compiled  # type: ignore[untyped-decorator]
def _flip(words: Any, bits: int, signed: bool, rate: float, seed: int) -> int:
    """Flip each of the low `bits` of integers [N] with probability `rate`; returns how many."""
    flips = 0
    for n in range(len(words)):
        mask = 0
        for bit in range(bits):
            if uniform(seed, n * bits + bit) < rate:
                mask |= 1 << bit
                flips += 1
        word = (words[n] ^ mask) & ((1 << bits) - 1)
        words[n] = word - (1 << bits) if signed and word >> (bits - 1) else word
    return flips


def flip_words(words: Tensor, bits: int, rate: float, *, signed: bool = True) -> Tensor:
    """Words [...] of small integers in float32 -> the same with faults."""
    integers = words.to(torch.int64).flatten()
    places = np.arange(1, len(integers) + 1)
    seed = int((integers.numpy() * places).sum()) & MASK >> 1
    _flip(integers.numpy(), bits, signed, rate, seed)
    return integers.view(words.shape).float()


@compiled  # type: ignore[untyped-decorator]
def flip_bits(words: Any, features: int, rate: float, seed: int) -> int:
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
