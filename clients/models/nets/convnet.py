"""Convnet: the small net of Opacus's MNIST example, 26,010 parameters at 28x28 and 10 classes."""

import math

from torch import nn

from clients.layers import MaxPool2d
from clients.models.nets.perceptron import ACTIVATIONS
from clients.models.nets.shapes import image_of, require_trimmed, told, trimmed
from clients.models.settings import Model
from clients.protocol import Form, Layers
from privacy.errors import ModelError

PADDING = 3  # of the first convolution; the second has none
NORMS = {
    "auto": lambda channels: nn.Identity(),
    "none": lambda channels: nn.Identity(),
    "group": lambda channels: nn.GroupNorm(math.gcd(channels, 4), channels, affine=False),
    "batch": lambda channels: nn.BatchNorm2d(channels),
}


def build_convnet(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """Two convolutions with overlapping pooling, then two dense layers: `width` (16) channels,
    then twice as many.

    Raises:
        ModelError: no images, or smaller than 20x20: nothing is left after the second pooling.
    """
    entrance, (channels, *sides) = image_of(form, "convnet")
    height, breadth = (_size_after(n) for n in sides)
    if min(height, breadth) < 1:
        scattered = " or scatter" if all(n > 4 and n % 4 == 0 for n in sides) else ""
        raise ModelError(
            f"[model] name = 'convnet': needs images of at least 20x20, these are "
            f"{told(sides)}; use perceptron{scattered}"
        )
    activation, norm = ACTIVATIONS[model.activation], NORMS[model.norm]
    width = model.width or 16
    require_trimmed(model.trim, PADDING, "convnet")
    size, padding = trimmed(8, PADDING, model.trim)
    pooling = MaxPool2d if model.pooling == "max" else nn.AvgPool2d
    return arithmetic.chain(
        [
            *entrance,
            *arithmetic.entrance(),
            *arithmetic.conv2d(channels, width, size, stride=2, padding=padding),
            norm(width),
            *arithmetic.activation(activation),
            pooling(2, 1),
            *arithmetic.conv2d(width, 2 * width, 4, stride=2),
            norm(2 * width),
            *arithmetic.activation(activation),
            pooling(2, 1),
            nn.Flatten(),
            *arithmetic.linear(2 * width * height * breadth, 2 * width),
            *arithmetic.activation(activation),
            *arithmetic.linear(2 * width, form.outputs),
        ]
    )


def _size_after(n: int) -> int:
    first = (n + 6 - 8) // 2 + 1 - 1
    return (first - 4) // 2 + 1 - 1
