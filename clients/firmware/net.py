"""The net that a microcontroller trains, out of a torch model: dense layers and ReLU."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from privacy.errors import ModelError

MOST_CLASSES = 256
MOST_UNITS = 1 << 16


class Dense(NamedTuple):
    """A dense layer: weights float32 [outputs, inputs], biases float32 [outputs]."""

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]


def dense_layers(model: nn.Module) -> tuple[Dense, ...]:
    """The layers of a perceptron: Flatten, then dense layers with a ReLU between any two.

    Raises:
        ModelError: names the first layer that has no C.
    """
    steps = [step for step in _steps(model) if type(step) is not nn.Flatten]
    for place, step in enumerate(steps):
        expected = nn.ReLU if place % 2 else nn.Linear
        if type(step) is not expected or (place % 2 and place == len(steps) - 1):
            raise ModelError(
                f"--to c: layer {place + 1}, {type(step).__name__}: has no C yet; train [model] "
                "name = 'perceptron' with activation = 'relu' in [arithmetic] name = 'float'"
            )
    if not steps:
        raise ModelError("--to c: a model without layers; train [model] name = 'perceptron'")
    found = tuple(
        Dense(_array(step.weight), _array(step.bias))
        for step in steps
        if isinstance(step, nn.Linear)
    )
    if len(found[-1].biases) > MOST_CLASSES or len(found[-1].biases) < 2:
        raise ModelError(
            f"--to c: {len(found[-1].biases)} classes; a label is a byte: 2 to {MOST_CLASSES}"
        )
    return found


def _steps(model: nn.Module) -> list[nn.Module]:
    if type(model) is nn.Sequential:
        return [step for child in model for step in _steps(child)]
    return [model]


def _array(parameter: Tensor | None) -> NDArray[np.float32]:
    if parameter is None:
        raise ModelError("--to c: a dense layer without biases has no C yet")
    return parameter.detach().numpy().astype(np.float32)
