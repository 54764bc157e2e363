"""Images on streams: a convolution is a dense layer on patches (im2col), a maximum is an OR.

A chip would wire them so: a patch is the same bits read again, and the larger of two bits of -1
and 1 is their OR, cycle by cycle. So each module moves the streams, and, where there will be a
backward pass, the sampled cycle beside them, which stays one cycle of those streams.

Shapes: B records, L cycles, C channels, P positions of a window, I = C size^2 inputs, O outputs.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.arithmetic.streams.kernels import Words, num_words
from clients.arithmetic.streams.registers import Streams
from privacy.compiling import compiled

Places = NDArray[np.int32]


@compiled  # type: ignore[untyped-decorator]
def _collect(words: Any, rows: Any, features: Any, out: Any) -> None:
    """Bit f of out[b, r, t] is the OR of bits features[r, f] in words[b, rows[r, f], t].

    words [B, S, L, K], rows and features [R, F, n], out [B, R, L, K'] of zeros.
    """
    for b in range(out.shape[0]):
        for r in range(out.shape[1]):
            for f in range(rows.shape[1]):
                to, shift = f >> 6, np.uint64(f & 63)
                for n in range(rows.shape[2]):
                    i = features[r, f, n]
                    if i < 0:
                        continue
                    source, at, down = words[b, rows[r, f, n]], i >> 6, np.uint64(i & 63)
                    for t in range(out.shape[2]):
                        out[b, r, t, to] |= (source[t, at] >> down & np.uint64(1)) << shift


def collect(words: Words, rows: Places, features: Places) -> Words:
    """Streams [B, S, L, K] read at other places [R, F, n]: [B, R, L, ceil(F / 64)]."""
    out = np.zeros((len(words), len(rows), words.shape[2], num_words(rows.shape[1])), np.uint64)
    _collect(words, rows, features, out)
    return out


@lru_cache(maxsize=32)
def windows(shape: tuple[int, int, int], size: int, stride: int, padding: int) -> Places:
    """The feature of each element of each window: [P, C size^2], -1 in the padding."""
    channels, height, width = shape
    numbers = np.full((channels, height + 2 * padding, width + 2 * padding), -1, np.int32)
    inner = slice(padding, padding + height), slice(padding, padding + width)
    numbers[:, *inner] = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    down, across = (
        np.arange(0, side - size + 1, stride)[:, None] + np.arange(size)
        for side in numbers.shape[1:]
    )
    cut = numbers[:, down[:, None, :, None], across[:, None, :]]  # [C, rows, columns, size, size]
    return np.ascontiguousarray(cut.transpose(1, 2, 0, 3, 4)).reshape(len(down) * len(across), -1)


class Patches(nn.Module):
    """[B, C, H, W] -> [B, P, C size^2]. What is padded is a stream of zeros."""

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Tensor, bits: Streams) -> Tensor:
        """Cut the streams, and the sample if there is one."""
        channels, height, width = bits.shape
        places = windows((channels, height, width), self.size, self.stride, self.padding)
        read = collect(bits.words[:, None], np.zeros_like(places)[..., None], places[..., None])
        grid = tuple(
            (side + 2 * self.padding - self.size) // self.stride + 1 for side in (height, width)
        )
        bits.words, bits.shape, bits.grid = read.reshape(-1, *read.shape[2:]), places.shape, grid
        if not torch.is_grad_enabled():
            return x
        return F.unfold(x, self.size, padding=self.padding, stride=self.stride).transpose(1, 2)

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"{self.size}, stride={self.stride}, padding={self.padding}"


class ToImage(nn.Module):
    """[B, P, O] -> [B, O, rows, columns]"""

    def forward(self, x: Tensor, bits: Streams) -> Tensor:
        """Put the streams of all positions together, and the sums."""
        positions, outputs = bits.shape
        place = np.arange(positions * outputs, dtype=np.int32)[None, :, None]
        words = bits.words.reshape(-1, positions, *bits.words.shape[1:])
        bits.words = collect(words, place % positions, place // positions)[:, 0]
        bits.shape = (outputs, *bits.grid)
        if not torch.is_grad_enabled():
            return x
        return x.transpose(1, 2).reshape(len(x), *bits.shape)


class OrPool(nn.Module):
    """Max-pooling without padding: [B, C, H, W] -> [B, C, rows, columns]."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x: Tensor, bits: Streams) -> Tensor:
        """OR the streams; the greatest of the sample."""
        channels, height, width = bits.shape
        one = windows((1, height, width), self.size, self.stride, 0)  # [P, size^2]
        offsets = np.arange(channels, dtype=np.int32) * np.int32(height * width)
        places = (offsets[:, None, None] + one).reshape(1, -1, one.shape[1])
        bits.words = collect(bits.words[:, None], np.zeros_like(places), places)[:, 0]
        rows = (height - self.size) // self.stride + 1
        bits.shape = (channels, rows, len(one) // rows)
        return F.max_pool2d(x, self.size, self.stride) if torch.is_grad_enabled() else x

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"{self.size}, stride={self.stride}"
