"""[model]: which net, and its shape."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_serializer, field_validator

from clients.models.sources import is_own
from clients.protocol import Form, Layers, later
from privacy.settings import Range, Section, suggest

if TYPE_CHECKING:
    from torch import nn


class Architecture(NamedTuple):
    """How to build a model, and what it reads.

    Attributes:
        build: of torch, which is loaded then.
        front: the transform that it reads instead of records, a key of `fronts.FRONTS`.
        reads: keys of `Model` beside its name; None if nobody says, and then all are taken.
    """

    build: "Callable[[Model, Form, Layers], nn.Module]"
    front: str = "none"
    reads: tuple[str, ...] | None = None


Plain = bool | int | float | str

MOST_HIDDEN = 16  # layers
MOST_OPTIONS = 64
ADAPTATIONS = "all|head|bias|lora:[1-9][0-9]{0,3}"
MODELS: dict[str, Architecture] = {}  # what there is: the door of this room enters it


class Model(Section):
    """Which net, and its shape.

    Attributes:
        name: a key of `MODELS`; or `FILE.py:NAME`, a class or function in a file of the user's
            (`clients.models.own`), which is looked for beside the experiment's file, and else from
            the current folder.
        adapt: which weights are trained: `all`, `head`, `bias` or `lora:RANK`
            (`clients.models.adapt`).
        options: of a user's own model: its further arguments, plain values and lists of them.
        sha256: of that file; an experiment without one takes the file as it is.
        front: a fixed transform of each record, which the model reads instead: `scatter` of
            pictures, `strokes`: the same, made even by how random strokes vary,
            `stroke-halves`: these as numbers in [0, 1], what is above 0 and what is below apart,
            `shapes`: their logarithms, made even by how random filled and patterned shapes vary,
            `log-mel` of sounds, `spectrum` of windows, `backbone`: features of pictures by frozen
            public weights; `auto` is the model's own, of sounds `log-mel`, or `none`.
        axes: of strokes or shapes, how many are kept of a channel at most, those along which they
            vary most; 0 is all. Few bear more noise, many tell more.
        weights: the .safetensors file of a backbone, found as a file of code is.
        weights_sha256: of that file.
        size: side in pixels to which a backbone's pictures are brought.
        hidden: widths of the hidden dense layers of a perceptron or strided net.
        activation: of a perceptron or convnet; `square` is what leveled FHE can compute.
        norm: of a convnet or `cnn1d`; `auto` is none in a convnet, and `group` in a `cnn1d`.
            `batch` mixes records, so it is refused under record-level DP.
        pooling: of a convnet or `cnn1d`: the largest of a window, or its mean, which is what
            leveled FHE can compute.
        pool: side of the squares of pixels that are averaged before anything else; 1 is none.
        channels, kernel, stride: of the convolution of a strided net; `kernel` also of a `cnn1d`.
        width, depth: channels or units of a ready net's first layer, and how many blocks or layers
            it has; 0 is what it is known for.
        trim: rows and columns that a kernel loses on each side, of its padding as many, so that
            what it gives keeps its shape: 1 makes 3 x 3 of 5 x 5. One with less padding loses that.
        latent: numbers between the halves of an autoencoder.
    """

    name: str = "perceptron"
    front: Literal[
        "auto", "none", "scatter", "strokes", "stroke-halves", "shapes", "log-mel", "spectrum",
        "backbone",
    ] = "auto"  # fmt: skip
    axes: Annotated[int, Range(0, 1 << 16)] = 800
    hidden: tuple[Annotated[int, Range(1, 1 << 16)], ...] = Field(
        default=(128,), strict=False, max_length=MOST_HIDDEN
    )
    activation: Literal["relu", "tanh", "square"] = "relu"
    norm: Literal["auto", "none", "group", "batch"] = "auto"
    pooling: Literal["max", "mean"] = "max"
    pool: Annotated[int, Range(1, 1024)] = 1
    channels: Annotated[int, Range(1, 4096)] = 8
    kernel: Annotated[int, Range(1, 1024)] = 7
    stride: Annotated[int, Range(1, 1024)] = 3
    width: Annotated[int, Range(0, 4096)] = 0
    depth: Annotated[int, Range(0, 64)] = 0
    trim: Annotated[int, Range(0, 64)] = 0
    latent: Annotated[int, Range(1, 4096)] = 8
    weights: str = ""
    weights_sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    size: Annotated[int, Range(32, 1024)] = 160
    adapt: str = Field(default="all", pattern=f"^({ADAPTATIONS})$")
    options: tuple[tuple[str, Plain | tuple[Plain, ...]], ...] = Field(
        default=(), max_length=MOST_OPTIONS
    )
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in MODELS and not is_own(name):
            own = "; a model of your own is FILE.py:NAME" if ".py" in name else ""
            raise ValueError(f"unknown model{own or suggest(name, MODELS)}")
        return name

    @field_validator("options", mode="before")
    @classmethod
    def _as_pairs(cls, options: Any) -> Any:
        """A table, as what can be compared and hashed."""
        if not isinstance(options, dict):
            if isinstance(options, tuple | list):
                return options
            raise ValueError("must be a table: [model.options] and a line for each")
        pairs = sorted(options.items())
        return tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in pairs)

    @field_serializer("options")
    def _as_table(self, options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
        return {key: list(v) if isinstance(v, tuple) else v for key, v in options}


OWN = Architecture(later("clients.models.own:build_own"), reads=("options", "sha256"))
EVENED = ("strokes", "stroke-halves", "shapes")  # fronts
OF_KIND = {"sound": "log-mel"}  # what a model reads where nobody says


def architecture_of(model: Model) -> Architecture:
    """How a model is built, and what it reads."""
    return OWN if is_own(model.name) else MODELS[model.name]


def chosen_front(model: Model, form: Form) -> str:
    """Which transform a model reads of such records: a key of `fronts.FRONTS`, `backbone` or
    `none`."""
    if model.front != "auto":
        return model.front
    own = architecture_of(model).front
    return OF_KIND.get(form.kind, "none") if own == "none" else own


def stands_on_backbone(model: Model) -> bool:
    """Does it read the features of a backbone?"""
    return "backbone" in (model.front, model.front == "auto" and architecture_of(model).front)
