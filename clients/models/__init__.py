"""[model]: the nets a device can train, by name.

A new model is a function `(settings, form, layers) -> nn.Module` entered in `MODELS`, built of the
`layers` of an arithmetic; if it stands on a fixed transform of the records, the name of that is
entered with it (`FRONTS`: with the steps that a chip is asked to do; cached for each data set).
What it `reads` of the settings is entered too, so that a setting it does not read is refused.

settings     [model]
nets/        ready nets
adapt        which weights of a net are trained
own          the user's own model: a class or function in a file
norms        of it, that mix records, changed for others
sources      such files, known by their SHA-256
fronts       the fixed transforms before a model, by name
transform    such a transform, step by step
scattering   the scattering transform
strokes      its coefficients, made even by those of random strokes or shapes
log_mel      of sounds
spectrum     of windows
backbone     features of pictures by frozen public weights
weights      such weights: files known by their SHA-256
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clients.models.settings import MODELS, Architecture, Model, architecture_of
from clients.protocol import later

if TYPE_CHECKING:
    from clients.models.fronts import FRONTS, form_behind, front_of, name_front, say_front

__all__ = [
    "FRONTS",
    "MODELS",
    "Architecture",
    "Model",
    "architecture_of",
    "form_behind",
    "front_of",
    "name_front",
    "say_front",
]


def __getattr__(name: str) -> Any:
    """What loads torch, which settings have no need of, when it is asked for."""
    if name not in ("FRONTS", "form_behind", "front_of", "name_front", "say_front"):
        raise AttributeError(name)
    from clients.models import fronts

    return getattr(fronts, name)


def _net(name: str) -> Callable[..., Any]:
    return later(f"clients.models.nets.{name}")


MODELS |= {
    "perceptron": Architecture(_net("perceptron:build_perceptron"), reads=("hidden", "activation")),
    "convnet": Architecture(
        _net("convnet:build_convnet"), reads=("activation", "norm", "pooling", "width", "trim")
    ),
    "scatter": Architecture(_net("linear:build_linear"), "scatter", reads=()),
    "strided": Architecture(
        _net("strided:build_strided"), reads=("hidden", "channels", "kernel", "stride")
    ),
    "linear": Architecture(_net("linear:build_linear"), reads=()),
    "cnn1d": Architecture(
        _net("sequences:build_cnn1d"),
        reads=("activation", "norm", "pooling", "width", "depth", "kernel", "trim"),
    ),
    "gru": Architecture(_net("sequences:build_gru"), reads=("width", "depth")),
    "lstm": Architecture(_net("sequences:build_lstm"), reads=("width", "depth")),
    "attention": Architecture(_net("sequences:build_attention"), reads=("width", "depth")),
    "tabular": Architecture(_net("tabular:build_tabular"), reads=("hidden", "activation")),
    "ds-cnn": Architecture(
        _net("tiny:build_ds_cnn"), reads=("activation", "width", "depth", "trim")
    ),
    "resnet8": Architecture(_net("tiny:build_resnet8"), reads=("activation", "width", "trim")),
    "mobilenet": Architecture(_net("tiny:build_mobilenet"), reads=("activation", "width", "trim")),
    "backbone": Architecture(_net("linear:build_linear"), "backbone", reads=()),
    "autoencoder": Architecture(
        _net("autoencoder:build_autoencoder"), reads=("activation", "width", "depth", "latent")
    ),
}
