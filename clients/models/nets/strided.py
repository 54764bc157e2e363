"""Strided: one convolution without padding, two dense layers, squares between.

The net of TenSEAL's tutorial: its one convolution can be packed by the client (im2col), and squares
are what leveled FHE computes (CryptoNets, 2016).
"""

from torch import nn

from clients.layers import Square
from clients.models.nets.shapes import image_of, told
from clients.models.settings import Model
from clients.protocol import Form, Layers
from privacy.errors import ModelError


def build_strided(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """Convolution, square, dense, square, ..., the classes.

    Raises:
        ModelError: no images, or smaller than the kernel.
    """
    entrance, (channels, *sides) = image_of(form, "strided")
    if model.kernel > min(sides):
        raise ModelError(
            f"[model] kernel = {model.kernel}: larger than the {told(sides)} "
            "images; ask for less, or use perceptron"
        )
    rows, columns = ((n - model.kernel) // model.stride + 1 for n in sides)
    layers: list[nn.Module] = [
        *entrance,
        *arithmetic.entrance(),
        *arithmetic.conv2d(channels, model.channels, model.kernel, stride=model.stride),
        *arithmetic.activation(Square),
        nn.Flatten(),
    ]
    inputs = model.channels * rows * columns
    for width in model.hidden:
        layers += [*arithmetic.linear(inputs, width), *arithmetic.activation(Square)]
        inputs = width
    return arithmetic.chain([*layers, *arithmetic.linear(inputs, form.outputs)])
