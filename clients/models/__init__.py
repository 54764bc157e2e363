"""[model]: the nets a device can train, by name.

A new model is a function `(settings, shape, num_classes, layers) -> nn.Module` entered in `MODELS`,
built of the `layers` of an arithmetic; if it stands on a fixed transform of the images, that is
entered with it and cached for each data set.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import Field, field_validator
from torch import Tensor, nn

from clients.arithmetic import Arithmetic
from clients.models.convnet import build_convnet
from clients.models.perceptron import build_perceptron
from clients.models.scatter import build_scatter, scatter_features
from clients.models.strided import build_strided
from clients.protocol import Layers
from privacy.errors import ModelError
from privacy.settings import Section, suggest


class Architecture(NamedTuple):
    """How to build a model, and what it reads instead of pixels."""

    build: "Callable[[Model, tuple[int, ...], int, Layers], nn.Module]"
    transform: Callable[[Tensor], Tensor] | None = None


MODELS: dict[str, Architecture] = {
    "perceptron": Architecture(build_perceptron),
    "convnet": Architecture(build_convnet),
    "scatter": Architecture(build_scatter, scatter_features),
    "strided": Architecture(build_strided),
}


class Model(Section):
    """Which net, and its shape.

    Attributes:
        name: a key of `MODELS`.
        hidden: widths of the hidden dense layers of a perceptron or strided net.
        activation: of a perceptron or convnet; `square` is what leveled FHE can compute.
        norm: of a convnet. `batch` mixes records, so it is refused under record-level DP.
        pool: side of the squares of pixels that are averaged before anything else; 1 is none.
        channels, kernel, stride: of the convolution of a strided net.
    """

    name: str = "perceptron"
    hidden: tuple[int, ...] = Field(default=(128,), strict=False)
    activation: Literal["relu", "tanh", "square"] = "relu"
    norm: Literal["none", "group", "batch"] = "none"
    pool: int = Field(default=1, ge=1)
    channels: int = Field(default=8, ge=1)
    kernel: int = Field(default=7, ge=1)
    stride: int = Field(default=3, ge=1)

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in MODELS:
            raise ValueError(f"unknown model{suggest(name, MODELS)}")
        return name

    @field_validator("hidden")
    @classmethod
    def _are_widths(cls, hidden: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in hidden):
            raise ValueError("a hidden layer has at least 1 unit")
        return hidden


FLOAT = Arithmetic()


def build(
    model: Model, shape: tuple[int, ...], num_classes: int, arithmetic: Arithmetic = FLOAT
) -> nn.Module:
    """Build an untrained model; its initial weights come from torch's global generator.

    Args:
        shape: of one record's images, [H, W].
        arithmetic: in which numbers it computes.

    Raises:
        ModelError: the model cannot take such images, or the arithmetic has not all of its layers.
    """
    architecture, layers = MODELS[model.name], arithmetic.layers()
    if model.pool == 1:
        return architecture.build(model, shape, num_classes, layers)
    if architecture.transform is not None or any(side % model.pool for side in shape):
        raise ModelError(
            f"[model] pool = {model.pool}: the {shape[0]}x{shape[1]} inputs of {model.name} cannot "
            "be pooled so; use 1, or a divisor of both sides and a model that reads pixels"
        )
    pooled = tuple(side // model.pool for side in shape)
    built = architecture.build(model, pooled, num_classes, layers)
    chain = built.children() if type(built) is nn.Sequential else [built]
    return nn.Sequential(nn.AvgPool2d(model.pool), *chain)
