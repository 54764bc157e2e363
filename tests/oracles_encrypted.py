"""Slow, obvious references for encrypted inference, and small nets to try it on."""

import numpy as np

from privacy.encrypted.net import Convolution, Dense, Net


def logits(net, image):
    """A net on one image, pixel by pixel; centred, as the encrypted logits are."""
    pool = net.pool
    height, width = net.shape[0] // pool, net.shape[1] // pool
    pooled = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            pooled[i, j] = image[i * pool : (i + 1) * pool, j * pool : (j + 1) * pool].mean()
    x = pooled.ravel()
    for number, layer in enumerate(net.layers):
        if number:
            x = x * x
        if isinstance(layer, Convolution):
            k, out = layer.weight.shape[1], []
            for kernel, bias in zip(layer.weight, layer.bias, strict=True):
                for i in range(0, height - k + 1, layer.stride):
                    for j in range(0, width - k + 1, layer.stride):
                        out.append((kernel * pooled[i : i + k, j : j + k]).sum() + bias)
            x = np.array(out)
        else:
            x = np.array([row @ x + b for row, b in zip(layer.weight, layer.bias, strict=True)])
    return x - x.mean()


def perceptron(rng, shape, widths, pool=1):
    """Random weights of the size that training leaves."""
    inputs = (shape[0] // pool) * (shape[1] // pool)
    layers = []
    for outputs in widths:
        weight = rng.normal(0, inputs**-0.5, (outputs, inputs))
        layers.append(Dense(weight, rng.normal(0, 0.1, outputs)))
        inputs = outputs
    return Net(shape, pool, tuple(layers))


def convnet(rng, shape, channels, kernel, stride, widths):
    """As `perceptron`, behind a convolution."""
    windows = ((shape[0] - kernel) // stride + 1) * ((shape[1] - kernel) // stride + 1)
    first = Convolution(
        rng.normal(0, 1 / kernel, (channels, kernel, kernel)), rng.normal(0, 0.1, channels), stride
    )
    inputs = channels * windows
    layers = []
    for outputs in widths:
        weight = rng.normal(0, inputs**-0.5, (outputs, inputs))
        layers.append(Dense(weight, rng.normal(0, 0.1, outputs)))
        inputs = outputs
    return Net(shape, 1, (first, *layers))
