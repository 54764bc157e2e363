"""[model]: which net, and its shape."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator
from torch import nn

from clients.protocol import Form, Layers
from privacy.settings import Range, Section, suggest


class Architecture(NamedTuple):
    """How to build a model, and what it reads.

    Attributes:
        front: the transform that it reads instead of records, a key of `fronts.FRONTS`.
        reads: keys of `Model` beside its name; None if nobody says, and then all are taken.
    """

    build: "Callable[[Model, Form, Layers], nn.Module]"
    front: str = "none"
    reads: tuple[str, ...] | None = None


MOST_HIDDEN = 16  # layers
MODELS: dict[str, Architecture] = {}  # what there is: the door of this room enters it


class Model(Section):
    """Which net, and its shape.

    Attributes:
        name: a key of `MODELS`.
        front: a fixed transform of each record, which the model reads instead: `scatter`; `auto` is
            the model's own, or `none`.
        hidden: widths of the hidden dense layers of a perceptron or strided net.
        activation: of a perceptron or convnet; `square` is what leveled FHE can compute.
        norm: of a convnet. `batch` mixes records, so it is refused under record-level DP.
        pool: side of the squares of pixels that are averaged before anything else; 1 is none.
        channels, kernel, stride: of the convolution of a strided net.
    """

    name: str = "perceptron"
    front: Literal["auto", "none", "scatter"] = "auto"
    hidden: tuple[Annotated[int, Range(1, 1 << 16)], ...] = Field(
        default=(128,), strict=False, max_length=MOST_HIDDEN
    )
    activation: Literal["relu", "tanh", "square"] = "relu"
    norm: Literal["none", "group", "batch"] = "none"
    pool: Annotated[int, Range(1, 1024)] = 1
    channels: Annotated[int, Range(1, 4096)] = 8
    kernel: Annotated[int, Range(1, 1024)] = 7
    stride: Annotated[int, Range(1, 1024)] = 3

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in MODELS:
            raise ValueError(f"unknown model{suggest(name, MODELS)}")
        return name
