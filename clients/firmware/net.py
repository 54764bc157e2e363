"""The net that a microcontroller trains, out of a torch model: dense layers and ReLU."""

from dataclasses import dataclass
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


Records = tuple[NDArray[np.int16], NDArray[np.uint8]]  # inputs [N, inputs], labels [N]

# The largest word in root mean squares of a normal variable, of least squared error: privet's own.
REACH = {2: 1.22, 3: 1.95, 4: 2.47, 5: 2.90, 6: 3.27, 7: 3.61, 8: 3.92}


@dataclass(frozen=True)
class Words:
    """An arithmetic of words of few bits.

    Attributes:
        projection: fixed, ternary or binary: see `clients.firmware.numbers.words`.
        bits: of a weight. `activation_bits`: of an input, 2 to 8. `gradient_bits`: of a gradient,
            2 to 8; 32 leaves it in float.
        channels: a scale for each output, or one for the layer.
    """

    projection: str
    bits: int
    activation_bits: int
    gradient_bits: int
    channels: bool

    @property
    def field_bits(self) -> int:
        """In which a weight's word is packed: 1, 2, 4 or 8."""
        return next(bits for bits in (1, 2, 4, 8) if bits >= self.bits)

    @property
    def reach(self) -> float:
        """In root mean squares, what the largest word of inputs stands for."""
        return REACH[self.activation_bits]

    def most_inputs(self, signed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The largest word of inputs, where some are negative and where none is."""
        bits = self.activation_bits
        return np.where(signed, (1 << bits - 1) - 1, (1 << bits) - 1).astype(np.int64)


def dense_layers(
    model: nn.Module, linear: type[nn.Linear] = nn.Linear, rounding: tuple[type, ...] = ()
) -> tuple[Dense, ...]:
    """The layers of a perceptron: Flatten, then dense layers with a ReLU between any two.

    Args:
        linear: the dense layer of the model's arithmetic. `rounding`: what stands before and behind
            one, and is told by `Words`.

    Raises:
        ModelError: names the first layer that has no C.
    """
    told = (nn.Flatten, *rounding)
    steps = [step for step in _steps(model) if type(step) not in told]
    for place, step in enumerate(steps):
        expected = nn.ReLU if place % 2 else linear
        if type(step) is not expected or (place % 2 and place == len(steps) - 1):
            raise ModelError(
                f"--to c: layer {place + 1}, {type(step).__name__}: has no C yet; train [model] "
                "name = 'perceptron' with activation = 'relu'"
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
