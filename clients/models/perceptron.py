"""Perceptron: dense layers on the pixels of an image."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from clients.models import Model


class Square(nn.Module):
    """x^2: the activation that leveled FHE can compute (CryptoNets, 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Square each element."""
        return torch.square(x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "square": Square}


def build_perceptron(model: "Model", shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Flatten, then `hidden` dense layers with the activation between, then the classes."""
    widths = [math.prod(shape), *model.hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[model.activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
