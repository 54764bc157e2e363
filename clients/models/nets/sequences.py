"""Sequences [C, L]: convolutions, recurrent layers, and a small transformer."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from clients.layers import Recurrent, Residual
from clients.models.nets.perceptron import ACTIVATIONS
from clients.models.nets.shapes import norm, require_trimmed, sequence_of, trimmed
from clients.models.settings import Model
from clients.protocol import Form, Layers
from privacy.errors import ModelError

WIDTH = 64
HEADS = 4
MOST_TOKENS = 64  # that attention compares with one another
NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "auto": lambda channels, length: norm(channels, length, "cnn1d"),
    "none": lambda channels, length: nn.Identity(),
    "group": lambda channels, length: norm(channels, length, "cnn1d"),
    "batch": lambda channels, length: nn.BatchNorm1d(channels),
}


def build_cnn1d(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """`depth` (3) convolutions over time, each halving it, then the mean and a dense layer.

    `width` (64) channels in the first, twice as many in the others.

    Raises:
        ModelError: no sequence, or it is shorter than the kernel leaves room for.
    """
    entrance, (channels, length) = sequence_of(form, "cnn1d")
    width, padding = model.width or WIDTH, (model.kernel - 1) // 2
    require_trimmed(model.trim, padding, "cnn1d")
    size, margin = trimmed(model.kernel, padding, model.trim)
    layers: list[nn.Module] = [*entrance, *arithmetic.entrance()]
    for block in range(model.depth or 3):
        wide = width * (1 if block == 0 else 2)
        length += 2 * padding + 1 - model.kernel
        if length < 1:
            raise ModelError(
                f"[model] kernel = {model.kernel}: nothing is left of sequences of "
                f"{form.shape[-1]} samples; use an odd one, or less depth"
            )
        layers += [
            *arithmetic.conv1d(channels, wide, size, padding=margin),
            NORMS[model.norm](wide, length),
            *arithmetic.activation(ACTIVATIONS[model.activation]),
        ]
        if length > 1:
            layers.append(nn.MaxPool1d(2) if model.pooling == "max" else nn.AvgPool1d(2))
            length //= 2
        channels = wide
    head = arithmetic.linear(channels, form.outputs)
    return arithmetic.chain([*layers, nn.AvgPool1d(length), nn.Flatten(), *head])


def build_gru(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """`depth` (1) layers of `width` (64) gated recurrent units (Cho et al. 2014), a dense head."""
    return _recurrent(nn.GRU, "gru", model, form, arithmetic)


def build_lstm(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """As `build_gru`, of long short-term memory (Hochreiter and Schmidhuber 1997)."""
    return _recurrent(nn.LSTM, "lstm", model, form, arithmetic)


def _recurrent(
    kind: type[nn.GRU] | type[nn.LSTM], name: str, model: Model, form: Form, arithmetic: Layers
) -> nn.Module:
    entrance, (channels, _) = sequence_of(form, name)
    width = model.width or WIDTH
    cells = kind(channels, width, model.depth or 1, batch_first=True)
    return arithmetic.chain(
        [
            *entrance,
            *arithmetic.float_only(Recurrent(cells), kind.__name__),
            *arithmetic.linear(width, form.outputs),
        ]
    )


class Places(nn.Module):
    """[B, D, T] -> [B, T, D], with sines that tell each token's place (Vaswani et al. 2017, 3.5).

    Args:
        width: D, even.
        tokens: T.
    """

    waves: Tensor

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        angles = torch.outer(torch.arange(tokens).float(), rates)
        waves = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn and add."""
        return x.transpose(1, 2) + self.waves


class SelfAttention(nn.Module):
    """[B, T, D] -> [B, T, D]: each token asks all others."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Of all tokens of a record, and of no other record."""
        attended: Tensor = self.heads(x, x, x, need_weights=False)[0]
        return attended


class MeanToken(nn.Module):
    """[B, T, D] -> [B, D]"""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over tokens."""
        return x.mean(1)


def build_attention(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """A transformer's encoder, normalised before each part (Xiong et al. 2020), on tokens of time.

    A convolution makes a token of every few samples, so that there are `MOST_TOKENS` at the most;
    `depth` (2) layers of `width` (64) numbers a token.

    Raises:
        ModelError: no sequence; or the width is no multiple of the heads.
    """
    entrance, (channels, length) = sequence_of(form, "attention")
    width = model.width or WIDTH
    if width % HEADS:
        raise ModelError(
            f"[model] width = {width}: attention has {HEADS} heads; use a multiple of {HEADS}"
        )
    patch = -(-length // MOST_TOKENS)
    encoder: list[nn.Module] = [
        nn.Conv1d(channels, width, patch, patch),
        Places(width, length // patch),
    ]
    for _ in range(model.depth or 2):
        attend = nn.Sequential(nn.LayerNorm(width), SelfAttention(width, HEADS))
        think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        encoder += [Residual(attend, nn.Identity()), Residual(think, nn.Identity())]
    encoder += [nn.LayerNorm(width), MeanToken()]
    return arithmetic.chain(
        [
            *entrance,
            *arithmetic.float_only(nn.Sequential(*encoder), "MultiheadAttention"),
            *arithmetic.linear(width, form.outputs),
        ]
    )
