"""Linear: one dense layer, on records or on a fixed transform of them.

On scattering coefficients it is the model `scatter` (Tramer and Boneh 2021).
"""

import math

from torch import nn

from clients.models.settings import Model
from clients.protocol import Form, Layers


def build_linear(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """The layer, from zero: a convex problem whose start favours no class."""
    net = arithmetic.chain([nn.Flatten(), *arithmetic.linear(math.prod(form.shape), form.outputs)])
    for p in net.parameters():
        nn.init.zeros_(p)
    return net
