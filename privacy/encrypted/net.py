"""A net as the encrypted schemes see it: plain arrays, squares between the layers.

Shapes: B records, I inputs and R outputs of a layer, C channels, P windows of a convolution.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privacy.errors import ModelError

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dense:
    """weight [R, F], bias [R]

    Attributes:
        support: bool [R, F], where the weight may be other than zero; None: anywhere.
    """

    weight: Array
    bias: Array
    support: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Convolution:
    """One channel in: weight [C, k, k], bias [C], zeros for `padding` pixels around."""

    weight: Array
    bias: Array
    stride: int
    padding: int = 0


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
                replace(layer, weight=layer.weight / peak[:, None, None], bias=layer.bias / peak)
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
        layers.append(Dense(weight / peak[:, None], layer.bias / peak, layer.support))
        x, grow = np.square(z / peak), np.square(peak)
    raise ModelError("a net ends in a dense layer")


def logits_of(net: Net, x: Array) -> Array:
    """What a net gives in the clear of its inputs, pooled [B, F]: [B, R]."""
    for number, layer in enumerate(net.layers):
        if isinstance(layer, Convolution):
            z = _convolve(layer, x, net.pooled).reshape(len(x), -1)
        else:
            z = x @ layer.weight.T + layer.bias
        x = np.square(z) if number + 1 < len(net.layers) else z
    return x


def patches(layer: Convolution, shape: tuple[int, int]) -> Places:
    """The pixel of each kernel element in each window, [k k, P]; -1 is a zero around the image."""
    k, border = layer.weight.shape[1], layer.padding
    pixels = np.pad(np.arange(shape[0] * shape[1]).reshape(shape), border, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (k, k))
    windows = windows[:: layer.stride, :: layer.stride]
    return windows.reshape(-1, k * k).T


def _convolve(layer: Convolution, x: Array, shape: tuple[int, int]) -> Array:
    """x [B, H W] -> [B, C, P]"""
    kernels = layer.weight.reshape(len(layer.bias), -1)
    x = np.concatenate([x, np.zeros((len(x), 1))], axis=1)  # -1 is the zero at the end
    return kernels @ x[:, patches(layer, shape)] + layer.bias[:, None]
