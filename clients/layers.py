"""Layers whose stock CPU kernels are slow: the same functions, compiled by numba on first use.

torch's max-pooling of small float images takes longer than the convolutions around it: its kernel
walks windows one by one. Here each offset in the window is one pass over the image, which the
compiler turns into vector instructions. The kernels hold no GIL, so clients on other threads go on.
"""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Images = NDArray[np.float32]


compiled: Any = numba.njit(nogil=True, cache=True)


@compiled  # type: ignore[untyped-decorator]
def _pool(x: Images, size: int, out: Images, where: NDArray[np.uint8]) -> None:
    """Maxima of all windows, stride 1: x [N, H, W] -> out [N, H - size + 1, W - size + 1].

    `where` [N, H * W] gets the place of each window's first maximum, row by row. An image is one
    flat row: windows that would wrap round its edge are computed too, and left out of `out`.
    """
    num, height, width = x.shape
    length = (height - size) * width + width - size + 1
    best = np.empty(length, np.float32)
    for n in range(num):
        flat, place = x[n].ravel(), where[n]
        best[:] = flat[:length]
        place[:] = 0
        for offset in range(1, size * size):
            shifted = flat[offset // size * width + offset % size :]
            for p in range(length):
                greater = shifted[p] > best[p] or shifted[p] != shifted[p]  # a NaN is kept
                best[p] = shifted[p] if greater else best[p]
                place[p] = np.uint8(offset) if greater else place[p]
        for i in range(out.shape[1]):
            out[n, i] = best[i * width : i * width + out.shape[2]]


@compiled  # type: ignore[untyped-decorator]
def _unpool(g: Images, where: NDArray[np.uint8], size: int, out: Images) -> None:
    """Add each g[n, i, j] to `out` [N, H, W] at its window's maximum."""
    num, height, width = out.shape
    length = (height - size) * width + width - size + 1
    padded = np.zeros(length, np.float32)  # zero between the rows, where windows would wrap
    for n in range(num):
        for i in range(g.shape[1]):
            padded[i * width : i * width + g.shape[2]] = g[n, i]
        flat, place = out[n].ravel(), where[n]
        for offset in range(size * size):
            shifted = flat[offset // size * width + offset % size :]
            for p in range(length):
                shifted[p] += padded[p] if place[p] == offset else np.float32(0)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        images = x.detach().contiguous().flatten(0, 1)
        num, height, width = images.shape
        out = torch.empty(num, height - size + 1, width - size + 1)
        where = torch.empty(num, height * width, dtype=torch.uint8)
        _pool(images.numpy(), size, out.numpy(), where.numpy())
        ctx.note = (where, size, x.shape)
        return out.view(*x.shape[:2], *out.shape[1:])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        where, size, shape = ctx.note
        out = torch.zeros(shape)
        each = g.contiguous().flatten(0, 1)
        _unpool(each.numpy(), where.numpy(), size, out.flatten(0, 1).numpy())
        return out, None


class MaxPool2d(nn.Module):
    """`nn.MaxPool2d` without padding or dilation, in value and in gradient.

    Overlapping windows (stride 1) of float32 run here, others on torch's own kernel.

    Args:
        size: side of the square window, at most 16.
        stride: of the window.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, (H - size) // stride + 1, (W - size) // stride + 1]"""
        if self.stride != 1 or x.dtype != torch.float32 or x.device.type != "cpu":
            return nn.functional.max_pool2d(x, self.size, self.stride)
        pooled: Tensor = _Pool.apply(x, self.size)
        return pooled

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"size={self.size}, stride={self.stride}"
