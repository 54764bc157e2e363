"""A binarized perceptron as plain integers, for encrypted inference and for chips."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clients.arithmetic.layers import ArithmeticLinear, Sign, Threshold
from privacy.errors import ModelError


class BinaryNet(NamedTuple):
    """Layer by layer a = sign(W a + b), sign(0) = 1, from a = sign(pixels - threshold).

    The last layer has no sign: its logits are those of the trained model up to a positive factor.

    Attributes:
        weights: int8 [O, I] of -1 and 1 for each layer.
        biases: int64 [O] of each hidden layer, float64 [O] of the last.
        threshold: of a pixel in [0, 1].
    """

    weights: tuple[NDArray[np.int8], ...]
    biases: tuple[NDArray, ...]
    threshold: float

    def logits(self, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        """Pixels [B, I] in [0, 1] -> logits [B, classes], in integers but for the last bias."""
        a = np.where(pixels >= self.threshold, 1, -1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            a = np.where(a @ weight.astype(np.int64).T + bias >= 0, 1, -1)
        logits: NDArray[np.float64] = a @ self.weights[-1].astype(np.int64).T + self.biases[-1]
        return logits


def export_binary(model: nn.Module) -> BinaryNet:
    """The integers of a trained model.

    Raises:
        ModelError: it is not a perceptron with one-bit weights and activations.
    """
    layers = [m for m in model.modules() if not list(m.children())]
    dense = [m for m in layers if isinstance(m, ArithmeticLinear)]
    thresholds = [m.threshold for m in layers if isinstance(m, Threshold)]
    signs = [m for m in layers if isinstance(m, Sign)]
    if not dense or len(thresholds) != 1 or len(signs) != len(dense) - 1:
        raise ModelError(
            "not a binarized perceptron; train one with [model] name = 'perceptron', [arithmetic] "
            "name = 'binary', activation_bits = 1"
        )
    weights, biases = [], []
    for i, layer in enumerate(dense):
        words, scale = layer.projection.words(layer.weight)
        W = words.numpy().astype(np.int8)
        if (np.abs(W) != 1).any() or not (scale > 0).all():
            raise ModelError(
                "a weight is neither -1 nor 1; train with [arithmetic] name = 'binary'"
            )
        if i == len(dense) - 1 and len(scale) > 1 and not torch.all(scale == scale[0]):
            raise ModelError(
                "the last layer's outputs have scales of their own; train with [arithmetic] "
                "scaling = 'none' or 'tensor'"
            )
        b = layer.bias.detach().double().numpy() / scale.double().numpy()[:, 0]
        if i == 0:  # the model reads bits u = (a + 1) / 2
            b = 2 * b + W.sum(1)
        weights.append(W)
        biases.append(np.floor(b).astype(np.int64) if i < len(dense) - 1 else b)
    return BinaryNet(tuple(weights), tuple(biases), thresholds[0])
