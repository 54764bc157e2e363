"""The field's nets for small devices: ds-cnn, resnet8 and mobilenet.

After the reference models of MLPerf Tiny (Banbury et al., "MLPerf Tiny Benchmark", NeurIPS
Datasets and Benchmarks 2021), with GroupNorm in the place of BatchNorm, which mixes records.
"""

import math

from torch import nn

from clients.layers import Residual
from clients.models.nets.perceptron import ACTIVATIONS
from clients.models.nets.shapes import image_of, norm, require_trimmed, told, trimmed
from clients.models.settings import Model
from clients.protocol import Form, Layers
from privacy.errors import ModelError

Size = int | tuple[int, int]

BANDS = 10  # of the spectrograms for which ds-cnn was made

# Channels over the first layer's, and the stride, of mobilenet's separable convolutions.
STAGES = (
    *((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2)),
    *((16, 1),) * 5,
    *((32, 2), (32, 1)),
)


class _Chain:
    """Layers as they are put one after another, and the shape that they give."""

    def __init__(self, name: str, model: Model, form: Form, arithmetic: Layers) -> None:
        self.name, self.parts = name, arithmetic
        self._activation = ACTIVATIONS[model.activation]
        entrance, (self.channels, *self.sides) = image_of(form, name)
        self._given = tuple(self.sides)
        self._trim, self._padding = model.trim, 0  # the widest so far
        self.layers = [*entrance, *arithmetic.entrance()]

    def conv(
        self, outputs: int, size: Size, *, stride: Size = 1, padding: Size = 0, groups: int = 1
    ) -> list[nn.Module]:
        """A convolution; raises ModelError where nothing is left of the image."""
        sizes, strides, pads = (
            (n, n) if isinstance(n, int) else n for n in (size, stride, padding)
        )
        self._padding = max(self._padding, *pads)
        high, wide = (trimmed(n, pad, self._trim) for n, pad in zip(sizes, pads, strict=True))
        sizes, pads = (high[0], wide[0]), (high[1], wide[1])
        made = self.parts.conv2d(
            self.channels, outputs, sizes, stride=strides, padding=pads, groups=groups
        )
        self.sides = [
            (side + 2 * pad - extent) // step + 1
            for side, extent, step, pad in zip(self.sides, sizes, strides, pads, strict=True)
        ]
        if min(self.sides) < 1:
            raise ModelError(
                f"[model] name = {self.name!r}: nothing is left of images of "
                f"{told(self._given)}; use larger ones, or perceptron"
            )
        self.channels = outputs
        return made

    def active(self) -> list[nn.Module]:
        """An activation."""
        return self.parts.activation(self._activation)

    def normed(
        self, outputs: int, size: Size, *, stride: Size = 1, padding: Size = 0, groups: int = 1
    ) -> list[nn.Module]:
        """A convolution, a norm and an activation."""
        conv = self.conv(outputs, size, stride=stride, padding=padding, groups=groups)
        return [*conv, norm(outputs, math.prod(self.sides), self.name), *self.active()]

    def separable(self, outputs: int, stride: int) -> list[nn.Module]:
        """A convolution of each channel, then one of all channels of each pixel."""
        each = self.normed(self.channels, 3, stride=stride, padding=1, groups=self.channels)
        return [*each, *self.normed(outputs, 1)]

    def residual(self, outputs: int, stride: int) -> list[nn.Module]:
        """Two convolutions beside the identity, or beside one that brings it to their shape."""
        channels, sides = self.channels, self.sides
        shortcut: nn.Sequential | nn.Identity = nn.Identity()
        if stride > 1 or channels != outputs:
            shortcut = nn.Sequential(*self.conv(outputs, 1, stride=stride))
            self.channels, self.sides = channels, sides
        body = [
            *self.normed(outputs, 3, stride=stride, padding=1),
            *self.conv(outputs, 3, padding=1),
            norm(outputs, math.prod(self.sides), self.name),
        ]
        return [Residual(nn.Sequential(*body), shortcut), *self.active()]

    def finish(self, outputs: int) -> nn.Module:
        """The mean over pixels, and a dense layer."""
        require_trimmed(self._trim, self._padding, self.name)
        height, width = self.sides
        head = self.parts.linear(self.channels, outputs)
        return self.parts.chain([*self.layers, nn.AvgPool2d((height, width)), nn.Flatten(), *head])


def build_ds_cnn(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """`depth` (4) separable convolutions of `width` (64) channels, for keyword spectrograms.

    Zhang, Suda, Lai and Chandra, "Hello Edge", 2017. Bands are rows and frames columns; its
    first convolution sees 4 bands of 10 frames. The paper's sounds have 10 bands. The mean at the
    end forgets in which band something was, so kernels must have seen all of them before: of a
    sound with more, the first convolution sees as large a part, in steps as large.
    """
    chain, width = _Chain("ds-cnn", model, form, arithmetic), model.width or 64
    times = max(1, chain.sides[0] // BANDS) if form.kind == "sound" else 1
    chain.layers += chain.normed(width, (4 * times, 10), stride=(2 * times, 2), padding=(times, 4))
    for _ in range(model.depth or 4):
        chain.layers += chain.separable(width, 1)
    return chain.finish(form.outputs)


def build_resnet8(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """Three residual blocks, the first of `width` (16) channels, for pictures of 32x32.

    He, Zhang, Ren and Sun, "Deep residual learning", CVPR 2016, for CIFAR-10.
    """
    chain, width = _Chain("resnet8", model, form, arithmetic), model.width or 16
    chain.layers += chain.normed(width, 3, padding=1)
    for channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        chain.layers += chain.residual(channels, stride)
    return chain.finish(form.outputs)


def build_mobilenet(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """MobileNet v1 of a quarter's width: `width` (8) channels first, for pictures of 96x96.

    Howard et al., "MobileNets", 2017, table 1.
    """
    chain, width = _Chain("mobilenet", model, form, arithmetic), model.width or 8
    chain.layers += chain.normed(width, 3, stride=2, padding=1)
    for times, stride in STAGES:
        chain.layers += chain.separable(times * width, stride)
    return chain.finish(form.outputs)
