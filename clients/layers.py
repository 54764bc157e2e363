"""Layers whose stock CPU kernels are slow, and how the compiled step sees the models' own layers.

torch's max-pooling of small float images takes longer than the convolutions around it: its kernel
walks windows one by one. In `privacy.dp.kernels` all windows are one pass over the image, which the
compiler turns into vector instructions. It holds no GIL, so clients on other threads go on.
"""

from typing import Any

import torch
from torch import Tensor, nn

from privacy.dp import kernels
from privacy.dp.compiled import LAST, LOWERINGS, PLANES, SUMS, each, maxima, pooling, reshape
from privacy.dp.kernels import plan
from privacy.dp.rules import RULES, Share


class AddChannel(nn.Module):
    """[B, H, W] -> [B, 1, H, W]"""

    def forward(self, x: Tensor) -> Tensor:
        """Insert the channel axis."""
        return x.unsqueeze(1)


class Square(nn.Module):
    """x^2: the activation that leveled FHE can compute (CryptoNets, 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Square each element."""
        return torch.square(x)


class Kept(nn.Module):
    """What an activation gives, but that the small of each record is zero.

    Args:
        top: the share that is kept of a record's values, those of greatest magnitude.
        least: or the magnitude from which on a value is kept.
    """

    def __init__(self, activation: nn.Module, top: float = 0.0, least: float = 0.0) -> None:
        super().__init__()
        self.activation, self.top, self.least = activation, top, least

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> the same; of equals at the edge of the top, all are kept."""
        x = self.activation(x)
        rows, least = x.flatten(1), torch.tensor(self.least)
        if self.top:
            num = max(1, round(self.top * rows.shape[1]))
            least = rows.detach().abs().topk(num, dim=1).values[:, -1:]
        return torch.where(rows.abs() >= least, rows, 0.0).view_as(x)


class Recurrent(nn.Module):
    """[B, C, L] -> [B, H]: the mean over time of what a recurrent layer gives."""

    def __init__(self, cells: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """Step by step."""
        states, _ = self.cells(x.transpose(1, 2))
        mean: Tensor = states.mean(1)
        return mean


class Residual(nn.Module):
    """body(x) + shortcut(x), of the same shape (He et al. 2016, eq. 1 and 2).

    Args:
        body: what is learnt beside the shortcut.
        shortcut: the identity, or layers that give x the body's shape.
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential | nn.Identity) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> [B, ...]"""
        summed: Tensor = self.body(x) + self.shortcut(x)
        return summed


class Offset(nn.Module):
    """A trained number added to each channel of what a frozen layer gives.

    Args:
        shape: of the numbers.
        trailing: axes behind them, over which they are the same.
    """

    def __init__(self, shape: tuple[int, ...], trailing: int) -> None:
        super().__init__()
        self.trailing = trailing
        self.offset = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """[B, ..., *shape, *trailing] -> the same."""
        return x + self.offset.view(*self.offset.shape, *[1] * self.trailing)


def _offset_share(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    assert isinstance(layer, Offset)
    g = g.flatten(g.dim() - layer.trailing).sum(-1) if layer.trailing else g
    rows = g.reshape(len(g), -1, layer.offset.numel()).sum(1).double()
    squared = torch.linalg.vector_norm(rows, dim=1).square()
    return Share(squared, lambda c_B: [(c_B @ rows).view_as(layer.offset)])


RULES[Offset] = _offset_share


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.detach().contiguous()
        height, width = x.shape[2:]
        out = torch.empty(*x.shape[:2], height - 1, width - 1)
        where = torch.empty(x.numel() + width + 1)
        kernels.pool(x.numpy().ravel(), height, width, out.numpy().ravel(), where.numpy())
        ctx.note = (where, x.shape)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        where, shape = ctx.note
        out = torch.empty(shape)
        each_g = g.contiguous().numpy().ravel()
        kernels.unpool(each_g, shape[2], shape[3], where.numpy(), out.numpy().ravel())
        return out


class MaxPool2d(nn.Module):
    """`nn.MaxPool2d` without padding or dilation, in value and in gradient.

    2x2 windows with stride 1 of float32 run here, others on torch's own kernel.

    Args:
        size: side of the square window.
        stride: of the window.

    Attributes:
        overlaps: 2x2 windows, stride 1, for which there are kernels.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.overlaps = (size, stride) == (2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, (H - size) // stride + 1, (W - size) // stride + 1]"""
        if (
            not self.overlaps
            or min(x.shape[2:]) < 2
            or x.dtype != torch.float32
            or x.device.type != "cpu"
        ):
            return nn.functional.max_pool2d(x, self.size, self.stride)
        pooled: Tensor = _Pool.apply(x)
        return pooled

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"size={self.size}, stride={self.stride}"


LOWERINGS[AddChannel] = lambda _, shape: reshape(1, *shape)
LOWERINGS[Square] = each(plan.SQUARE)
PLANES[MaxPool2d] = lambda layer, shape: pooling(shape) if layer.overlaps else None
LAST[MaxPool2d] = lambda layer, shape: maxima(shape, (layer.size,) * 2, (layer.stride,) * 2)
SUMS[Residual] = lambda layer: (layer.body, layer.shortcut)
