"""Perceptron: dense layers on the pixels of an image."""

import math
from itertools import pairwise

from torch import nn

from clients.layers import Square
from clients.models.settings import Model
from clients.protocol import Form, Layers

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "square": Square}


def build_perceptron(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """Flatten, then `hidden` dense layers with the activation between, then the classes."""
    widths = [math.prod(form.shape), *model.hidden]
    layers: list[nn.Module] = [nn.Flatten(), *arithmetic.entrance()]
    for inputs, outputs in pairwise(widths):
        layers += arithmetic.linear(inputs, outputs)
        layers += arithmetic.activation(ACTIVATIONS[model.activation])
    return arithmetic.chain([*layers, *arithmetic.linear(widths[-1], form.outputs)])
