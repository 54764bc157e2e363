"""Layers that torch has not, of torch alone: this file's text stands in what is exported."""

import math
from typing import Any

import torch
from torch import Tensor, nn

TINY = 1e-30  # a record below it is zero


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
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


class Threshold(nn.Module):
    """1 where x >= threshold, else 0"""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        return (x >= self.threshold).to(x.dtype)


class Words(nn.Module):
    """Each record in words of few bits: the largest stands for `reach` root mean squares, or for
    the record's largest magnitude; a record without negative numbers has unsigned words."""

    def __init__(self, bits: int, reach: float) -> None:
        super().__init__()
        self.bits, self.reach = bits, reach

    def held(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, ...] -> what words can hold of it, and the step of each record's words [N]; both
        float32. The nearest whole number to their quotient is the word."""
        rows = x.flatten(1)
        mean = rows.double().square().mean(1, keepdim=True)
        bound = torch.minimum(rows.abs().amax(1, keepdim=True).double(), self.reach * mean.sqrt())
        unsigned, signed = float(2**self.bits - 1), float(2 ** (self.bits - 1) - 1)
        words = torch.where(rows.amin(1, keepdim=True) >= 0, unsigned, signed)
        bound = bound.float()
        step = bound / words
        held = torch.minimum(torch.maximum(rows.float(), -bound), bound).reshape(x.shape)
        return held, torch.where(bound < TINY, torch.ones_like(step), step).flatten()

    def forward(self, x: Tensor) -> Tensor:
        held, step = self.held(x)
        steps = step.reshape(-1, *[1] * (x.dim() - 1))
        return ((held / steps).round() * steps).to(x.dtype)


class InWords(nn.Module):
    """A dense layer or a convolution of words: a sum of whole numbers, times what one of them
    stands for, as float32. Without words for x, x itself times words.

    Args:
        shape: of the words [O, I], [O, I, L] or [O, I, H, W].
        words: of x; None leaves it alone.
        more: stride, padding, dilation and groups of a convolution.
    """

    words_of_weights: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(
        self, shape: tuple[int, ...], words: Words | None, more: tuple[Any, ...] = ()
    ) -> None:
        super().__init__()
        self.words, self.more = words, more
        self.register_buffer("words_of_weights", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(shape[0], dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.float64))

    def sums(self, held: Tensor, step: Tensor) -> Tensor:
        """Words of x [N, I, ...] times words of weights: whole, [N, O, ...] float64."""
        words = (held / step.reshape(-1, *[1] * (held.dim() - 1))).round()
        assert self.words is not None
        most = 2**self.words.bits * int(self.words_of_weights.abs().flatten(1).sum(1).max())
        return self.product(words if most < 2**24 else words.double())

    def product(self, x: Tensor) -> Tensor:
        """x times words; of floats, exact where it is whole and below 2^24."""
        weights = self.words_of_weights.to(x.dtype)
        if not self.more:
            return nn.functional.linear(x, weights).double()
        convolve = nn.functional.conv2d if weights.dim() == 4 else nn.functional.conv1d
        return convolve(x, weights, None, *self.more).double()

    def forward(self, x: Tensor) -> Tensor:
        trailing = [1] * (self.words_of_weights.dim() - 2)
        scale = self.scale.reshape(-1, *trailing)
        if self.words is None:
            read = x.float()  # a sum of which is exact in doubles
            y = self.product(read if self.more else read.double()) * scale
        else:
            held, step = self.words.held(x)
            steps = step.double().reshape(-1, *[1] * (x.dim() - 1))
            y = self.sums(held, step) * (steps * scale)
        return (y + self.bias.reshape(-1, *trailing)).float().to(x.dtype)


class Doubles(nn.Module):
    """A net of which all that stands between words is in doubles."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.double()

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.net(x.double())
        return answers.float()


class Floats(nn.Module):
    """A layer of floats between doubles."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def _apply(self, fn: object, recurse: bool = True) -> "Floats":
        """Its numbers stay as they are."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.float())
        return y.to(x.dtype)


class MeanPool(nn.Module):
    """Means of windows, of which as many lie along each of the last axes as fit."""

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x: Tensor) -> Tensor:
        first = x.dim() - len(self.size)
        for axis, (size, stride) in enumerate(zip(self.size, self.stride, strict=True), first):
            last = (x.shape[axis] - size) // stride * stride + 1
            before = (slice(None),) * axis
            parts = [x[(*before, slice(i, i + last, stride))] for i in range(size)]
            x = sum(parts[1:], parts[0])
        return x / math.prod(self.size)


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
