"""[model]: the nets a device can train, by name.

A new model is a function `(settings, shape, num_classes, layers) -> nn.Module` entered in `MODELS`,
built of the `layers` of an arithmetic; if it stands on a fixed transform of the images, that is
entered with it, with the steps that a chip is asked to do, and cached for each data set. What it
`reads` of the settings is entered too, so that a setting it does not read is refused.

settings     [model]
perceptron   dense layers on pixels
convnet      two convolutions and two dense layers
strided      one strided convolution, squares between
scatter      a linear head on a fixed scattering transform
scattering   that transform
transform    a fixed transform before a model, step by step
"""

from clients.models.convnet import build_convnet
from clients.models.perceptron import build_perceptron
from clients.models.scatter import SCATTERING, build_scatter
from clients.models.settings import MODELS, Architecture, Model
from clients.models.strided import build_strided

__all__ = ["MODELS", "Architecture", "Model"]

MODELS |= {
    "perceptron": Architecture(build_perceptron, reads=("hidden", "activation")),
    "convnet": Architecture(build_convnet, reads=("activation", "norm")),
    "scatter": Architecture(build_scatter, SCATTERING, reads=()),
    "strided": Architecture(build_strided, reads=("hidden", "channels", "kernel", "stride")),
}
