"""Layers that torch has not, of torch alone: this file's text stands in what is exported."""

import torch
from torch import Tensor, nn


class AddChannel(nn.Module):
    """[B, ...] -> [B, 1, ...]"""

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1)


class Square(nn.Module):
    """x^2"""

    def forward(self, x: Tensor) -> Tensor:
        return x * x


class Sign(nn.Module):
    """1 where x >= 0, else -1"""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0)


class Threshold(nn.Module):
    """1 where x >= threshold, else 0"""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        return (x >= self.threshold).to(torch.float32)


class Words(nn.Module):
    """Each record in words of few bits: the largest stands for `reach` root mean squares, or for
    the record's largest magnitude; a record without negative numbers has unsigned words."""

    def __init__(self, bits: int, reach: float) -> None:
        super().__init__()
        self.bits, self.reach = bits, reach

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        largest = rows.abs().amax(1, keepdim=True)
        bound = torch.minimum(largest, self.reach * rows.square().mean(1, keepdim=True).sqrt())
        unsigned, signed = float(2**self.bits - 1), float(2 ** (self.bits - 1) - 1)
        words = torch.where(rows.amin(1, keepdim=True) >= 0, unsigned, signed)
        zero = bound == 0
        per_step = words / torch.where(zero, torch.ones_like(bound), bound)
        rounded = torch.minimum(torch.maximum((rows * per_step).round(), -words), words)
        return (rounded * (bound / words)).reshape(x.shape)


class GroupNorm(nn.Module):
    """nn.GroupNorm, of any number of axes."""

    def __init__(self, groups: int, channels: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.groups, self.eps, self.affine = groups, eps, affine
        if affine:
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(x.shape[0], self.groups, -1)
        rows = rows - rows.mean(2, keepdim=True)
        rows = rows / (rows.square().mean(2, keepdim=True) + self.eps).sqrt()
        normed = rows.reshape(x.shape)
        if not self.affine:
            return normed
        axes = (-1, *[1] * (x.dim() - 2))
        return normed * self.weight.reshape(axes) + self.bias.reshape(axes)


class Kept(nn.Module):
    """What an activation gives, but that the small of each record is zero."""

    def __init__(self, activation: nn.Module, top: float, least: float) -> None:
        super().__init__()
        self.activation, self.top, self.least = activation, top, least

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(x)
        rows = x.flatten(1)
        least = torch.full_like(rows[:, :1], self.least)
        if self.top:
            num = max(1, round(self.top * rows.shape[1]))
            least = rows.abs().topk(num, dim=1).values[:, -1:]
        return torch.where(rows.abs() >= least, rows, torch.zeros_like(rows)).reshape(x.shape)


class Residual(nn.Module):
    """body(x) + shortcut(x)"""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.body(x) + self.shortcut(x)
        return summed


class Offset(nn.Module):
    """A number added to each channel; `trailing` axes stand behind them."""

    def __init__(self, shape: tuple[int, ...], trailing: int) -> None:
        super().__init__()
        self.trailing = trailing
        self.offset = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset.reshape(*self.offset.shape, *[1] * self.trailing)


class Columns(nn.Module):
    """A table's columns side by side, some of them embedded."""

    def __init__(self, widths: tuple[int, ...], embeddings: nn.ModuleDict) -> None:
        super().__init__()
        self.widths, self.embeddings = tuple(widths), embeddings

    def forward(self, x: Tensor) -> Tensor:
        made, first = [], 0
        for place, width in enumerate(self.widths):
            column = x[:, first : first + width]
            first += width
            embed = str(place) in self.embeddings
            made.append(self.embeddings[str(place)](column) if embed else column)
        return torch.cat(made, 1)


class Recurrent(nn.Module):
    """[B, C, L] -> [B, H]: the mean over time of what GRU or LSTM give."""

    def __init__(self, cells: nn.Module) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.cells(x.transpose(1, 2))[0]
        return states.mean(1)


class Places(nn.Module):
    """[B, D, T] -> [B, T, D], with a wave for each token's place."""

    waves: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.register_buffer("waves", torch.zeros(tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2) + self.waves


class SelfAttention(nn.Module):
    """[B, T, D] -> [B, T, D]"""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.heads(x, x, x, need_weights=False)[0]
        return attended


class MeanToken(nn.Module):
    """[B, T, D] -> [B, D]"""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)
