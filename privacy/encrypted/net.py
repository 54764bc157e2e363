"""A net as the encrypted schemes see it: plain arrays, squares between the layers.

Shapes: B records, I inputs and R outputs of a layer, C channels, P windows of a convolution.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.errors import ModelError

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dense:
    """weight [R, F], bias [R]"""

    weight: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Convolution:
    """One channel in, no padding: weight [C, k, k], bias [C]."""

    weight: Array
    bias: Array
    stride: int


@dataclass(frozen=True, eq=False)
class Net:
    """Layers with squares between, on images whose `pool` x `pool` squares are averaged first.

    Attributes:
        shape: of the images as they come, (H, W).
    """

    shape: tuple[int, int]
    pool: int
    layers: tuple[Dense | Convolution, ...]

    @property
    def pooled(self) -> tuple[int, int]:
        """(H, W) after pooling."""
        return self.shape[0] // self.pool, self.shape[1] // self.pool


def pool_images(images: Array, pool: int) -> Array:
    """[B, H, W] -> [B, H / pool, W / pool], the means of squares."""
    num, height, width = images.shape
    return images.reshape(num, height // pool, pool, width // pool, pool).mean((2, 4))


def normalise(net: Net, calibration: Array) -> tuple[Net, float]:
    """The same function with hidden units in [-1, 1], and logits whose mean is zero.

    What is common to all logits changes no probability, and would waste the room of the last level.

    Returns:
        The net, and what its logits must be multiplied by.
    """
    height, width = net.pooled
    x = pool_images(calibration, net.pool).reshape(len(calibration), -1)
    layers: list[Dense | Convolution] = []
    grow: Array | float = 1.0  # what each input of the layer was divided by, squared
    for number, layer in enumerate(net.layers):
        if isinstance(layer, Convolution):
            z = _convolve(layer, x, (height, width))  # [B, C, P]
            peak = np.abs(z).max((0, 2))
            peak[peak == 0] = 1.0
            layers.append(
                Convolution(layer.weight / peak[:, None, None], layer.bias / peak, layer.stride)
            )
            x = np.square(z / peak[:, None]).reshape(len(x), -1)
            grow = np.repeat(np.square(peak), z.shape[2])
            continue
        weight = layer.weight * grow
        z = x @ weight.T + layer.bias
        if number + 1 == len(net.layers):
            weight, bias = weight - weight.mean(0), layer.bias - layer.bias.mean()
            divisor = float(z.std(axis=1).max()) or 1.0
            layers.append(Dense(weight / divisor, bias / divisor))
            return Net(net.shape, net.pool, tuple(layers)), divisor
        peak = np.abs(z).max(0)
        peak[peak == 0] = 1.0
        layers.append(Dense(weight / peak[:, None], layer.bias / peak))
        x, grow = np.square(z / peak), np.square(peak)
    raise ModelError("a net ends in a dense layer")


def patches(layer: Convolution, shape: tuple[int, int]) -> Places:
    """The pixel of each kernel element in each window, [k k, P]."""
    k, width = layer.weight.shape[1], shape[1]
    tops, lefts = (np.arange(0, side - k + 1, layer.stride) for side in shape)
    corners = (tops[:, None] * width + lefts).ravel()
    offsets = (np.arange(k)[:, None] * width + np.arange(k)).ravel()
    return offsets[:, None] + corners


def _convolve(layer: Convolution, x: Array, shape: tuple[int, int]) -> Array:
    """x [B, H W] -> [B, C, P]"""
    kernels = layer.weight.reshape(len(layer.bias), -1)
    return kernels @ x[:, patches(layer, shape)] + layer.bias[:, None]
