"""Bit streams: linear-feedback shift registers and comparators.

A number x in [-1, 1] is a stream in which P(1) = (x + 1) / 2 (bipolar coding). A register of n bits
runs through 1 ... 2^n - 1, each once a period; a comparator gives 1 where the register is at most
the threshold round((x + 1) / 2 (2^n - 1)), so that a whole period has exactly so many ones.

Each feature has a register of its own: one register, read at as many phases. Inputs and weights
are read from different polynomials, or a product would see one stream twice. Between two cycles a
register makes as many steps as it is wide (or the next number coprime to its period): fresh bits in
each cycle, and still each state once a period.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.arithmetic.streams import kernels
from clients.arithmetic.streams.kernels import Words
from clients.arithmetic.streams.taps import TAPS
from privacy.compiling import compiled

States = NDArray[np.uint16]


@lru_cache(maxsize=64)
def run_register(width: int, mirrored: bool = False) -> States:
    """One period of a Fibonacci register, from state 1: uint16 [2^width - 1], step by step.

    Args:
        mirrored: by the reciprocal polynomial, which is primitive too.
    """
    taps = TAPS[width]
    if mirrored:
        taps = (width, *(width - tap for tap in taps[1:]))
    states = np.empty((1 << width) - 1, np.uint16)
    state = 1
    for i in range(len(states)):
        states[i] = state
        feedback = 0
        for tap in taps:
            feedback ^= state >> (tap - 1)
        state = (state << 1 | feedback & 1) & ((1 << width) - 1)
    return states


def leap(width: int) -> int:
    """Steps of a register in a cycle."""
    steps, period = width, (1 << width) - 1
    while math.gcd(steps, period) > 1:
        steps += 1
    return steps


def read_registers(
    width: int, length: int, phases: NDArray[np.int64], mirrored: bool = False
) -> States:
    """States over `length` cycles at each of the phases [I]: uint16 [length, I]."""
    states = run_register(width, mirrored)
    cycles = np.arange(length, dtype=np.int64)[:, None] * leap(width)
    return states[(cycles + phases) % len(states)]


def threshold(x: NDArray[np.float32], width: int) -> NDArray[np.uint16]:
    """Comparator thresholds of numbers in [-1, 1]; what lies outside is clipped."""
    out = np.empty(x.shape, np.uint16)
    _threshold(np.ascontiguousarray(x).reshape(-1), (1 << width) - 1, out.reshape(-1))
    return out


@compiled  # type: ignore[untyped-decorator]
def _threshold(x: Any, most: int, out: Any) -> None:
    one, half = np.float32(1), np.float32(0.5 * most)
    for i in range(len(x)):
        clipped = min(max(x[i], -one), one)
        out[i] = np.int32(np.rint((clipped + one) * half))


class Streams:
    """The bits between two layers; each module puts its own in place.

    Attributes:
        words: [B, L, K], or [B P, L, K] of patches.
        shape: of one record: (I,), (C, H, W), or (P, I) of patches.
        zero: the number for which a 0 stands: -1, or 0 for pixels.
        grid: rows and columns of the positions of patches.
    """

    def __init__(self, words: Words, shape: tuple[int, ...], zero: float) -> None:
        self.words, self.shape, self.zero = words, shape, zero
        self.grid: tuple[int, ...] = ()

    def sample(self, cycle: int) -> Tensor:
        """The numbers of one cycle, a sample of stream length 1: [B, *shape]."""
        features = math.prod(self.shape)
        out = np.empty((len(self.words), features), np.float32)
        kernels.unpack(np.ascontiguousarray(self.words[:, cycle]), self.zero, out)
        return torch.from_numpy(out).view(-1, *self.shape)
