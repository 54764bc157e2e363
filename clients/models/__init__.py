"""[model]: the nets a device can train, by name.

A new model is a function `(settings, shape, num_classes) -> nn.Module` entered in `MODELS`; if it
stands on a fixed transform of the images, that is entered with it and cached for each data set.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import Field, field_validator
from torch import Tensor, nn

from clients.models.convnet import build_convnet
from clients.models.perceptron import build_perceptron
from clients.models.scatter import build_scatter, scatter_features
from privacy.settings import Section, suggest


class Architecture(NamedTuple):
    """How to build a model, and what it reads instead of pixels."""

    build: "Callable[[Model, tuple[int, ...], int], nn.Module]"
    transform: Callable[[Tensor], Tensor] | None = None


MODELS: dict[str, Architecture] = {
    "perceptron": Architecture(build_perceptron),
    "convnet": Architecture(build_convnet),
    "scatter": Architecture(build_scatter, scatter_features),
}


class Model(Section):
    """Which net, and its shape.

    Attributes:
        name: a key of `MODELS`.
        hidden: widths of a perceptron's hidden layers.
        activation: of a perceptron or convnet; `square` is what leveled FHE can compute.
        norm: of a convnet. `batch` mixes records, so it is refused under record-level DP.
    """

    name: str = "perceptron"
    hidden: tuple[int, ...] = Field(default=(128,), strict=False)
    activation: Literal["relu", "tanh", "square"] = "relu"
    norm: Literal["none", "group", "batch"] = "none"

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


def build(model: Model, shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build an untrained model; its initial weights come from torch's global generator.

    Args:
        shape: of one record's images, [H, W].

    Raises:
        ModelError: the model cannot take such images.
    """
    return MODELS[model.name].build(model, shape, num_classes)
