"""[model]: the nets a device can train, by name.

A new model is a function `(settings, form, layers) -> nn.Module` entered in `MODELS`, built of the
`layers` of an arithmetic; if it stands on a fixed transform of the records, the name of that is
entered with it (`FRONTS`: with the steps that a chip is asked to do; cached for each data set).
What it `reads` of the settings is entered too, so that a setting it does not read is refused.

settings     [model]
own          the user's own model: a class or function in a file
sources      such files, known by their SHA-256
perceptron   dense layers on pixels
convnet      two convolutions and two dense layers
strided      one strided convolution, squares between
scatter      a linear head on a fixed scattering transform
fronts       the fixed transforms before a model, by name
transform    such a transform, step by step
scattering   the scattering transform
"""

from clients.models.convnet import build_convnet
from clients.models.fronts import FRONTS, form_behind, front_of, name_front
from clients.models.own import architecture_of
from clients.models.perceptron import build_perceptron
from clients.models.scatter import build_scatter
from clients.models.settings import MODELS, Architecture, Model
from clients.models.strided import build_strided

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
    "convnet": Architecture(build_convnet, reads=("activation", "norm")),
    "scatter": Architecture(build_scatter, "scatter", reads=()),
    "strided": Architecture(build_strided, reads=("hidden", "channels", "kernel", "stride")),
}
