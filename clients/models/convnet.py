"""Convnet: the small net of Opacus's MNIST example, 26,010 parameters at 28x28 and 10 classes."""

from torch import nn

from clients.layers import AddChannel, MaxPool2d
from clients.models.perceptron import ACTIVATIONS
from clients.models.settings import Model
from clients.protocol import Form, Layers
from privacy.errors import ModelError

NORMS = {
    "none": lambda channels: nn.Identity(),
    "group": lambda channels: nn.GroupNorm(4, channels, affine=False),
    "batch": lambda channels: nn.BatchNorm2d(channels),
}


def build_convnet(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """Two convolutions with overlapping max-pooling, then two dense layers.

    Raises:
        ModelError: images smaller than 20x20 leave nothing after the second pooling.
    """
    height, width = (_size_after(n) for n in form.shape)
    if min(height, width) < 1:
        raise ModelError(
            f"[model] name = 'convnet': needs images of at least 20x20, these are "
            f"{form.shape[0]}x{form.shape[1]}; use perceptron or scatter"
        )
    activation, norm = ACTIVATIONS[model.activation], NORMS[model.norm]
    return arithmetic.chain(
        [
            AddChannel(),
            *arithmetic.entrance(),
            *arithmetic.conv2d(1, 16, 8, stride=2, padding=3),
            norm(16),
            *arithmetic.activation(activation),
            MaxPool2d(2, 1),
            *arithmetic.conv2d(16, 32, 4, stride=2),
            norm(32),
            *arithmetic.activation(activation),
            MaxPool2d(2, 1),
            nn.Flatten(),
            *arithmetic.linear(32 * height * width, 32),
            *arithmetic.activation(activation),
            *arithmetic.linear(32, form.outputs),
        ]
    )


def _size_after(n: int) -> int:
    first = (n + 6 - 8) // 2 + 1 - 1
    return (first - 4) // 2 + 1 - 1
