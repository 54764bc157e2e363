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
log_mel      of sounds
spectrum     of windows
backbone     features of pictures by frozen public weights
weights      such weights: files known by their SHA-256
"""

from clients.models.fronts import FRONTS, form_behind, front_of, name_front
from clients.models.nets.autoencoder import build_autoencoder
from clients.models.nets.convnet import build_convnet
from clients.models.nets.linear import build_linear
from clients.models.nets.perceptron import build_perceptron
from clients.models.nets.sequences import build_attention, build_cnn1d, build_gru, build_lstm
from clients.models.nets.strided import build_strided
from clients.models.nets.tabular import build_tabular
from clients.models.nets.tiny import build_ds_cnn, build_mobilenet, build_resnet8
from clients.models.own import architecture_of
from clients.models.settings import MODELS, Architecture, Model

__all__ = [
    "FRONTS",
    "MODELS",
    "Architecture",
    "Model",
    "architecture_of",
    "form_behind",
    "front_of",
    "name_front",
]

MODELS |= {
    "perceptron": Architecture(build_perceptron, reads=("hidden", "activation")),
    "convnet": Architecture(build_convnet, reads=("activation", "norm", "pooling")),
    "scatter": Architecture(build_linear, "scatter", reads=()),
    "strided": Architecture(build_strided, reads=("hidden", "channels", "kernel", "stride")),
    "linear": Architecture(build_linear, reads=()),
    "cnn1d": Architecture(
        build_cnn1d, reads=("activation", "norm", "pooling", "width", "depth", "kernel")
    ),
    "gru": Architecture(build_gru, reads=("width", "depth")),
    "lstm": Architecture(build_lstm, reads=("width", "depth")),
    "attention": Architecture(build_attention, reads=("width", "depth")),
    "tabular": Architecture(build_tabular, reads=("hidden", "activation")),
    "ds-cnn": Architecture(build_ds_cnn, reads=("activation", "width", "depth")),
    "resnet8": Architecture(build_resnet8, reads=("activation", "width")),
    "mobilenet": Architecture(build_mobilenet, reads=("activation", "width")),
    "backbone": Architecture(build_linear, "backbone", reads=()),
    "autoencoder": Architecture(
        build_autoencoder, reads=("activation", "width", "depth", "latent")
    ),
}
