"""What a net of p-bits is built of: Boltzmann machines one on another, and a readout."""

from collections.abc import Callable

from torch import nn

from clients.arithmetic.pbits.machine import BoltzmannLinear
from clients.arithmetic.settings import Arithmetic
from clients.protocol import Size
from privacy.errors import ModelError


class PbitLayers:
    """Hidden layers that are machines; the last is dense, in floats, and reads them."""

    def __init__(self, settings: Arithmetic) -> None:
        self._settings = settings

    def entrance(self) -> list[nn.Module]:
        """Nothing: an input in [0, 1] is a p-bit's chance."""
        return []

    def linear(self, inputs: int, outputs: int) -> list[nn.Module]:
        """Dense, until `chain` knows which are hidden."""
        return [nn.Linear(inputs, outputs)]

    def conv2d(
        self,
        inputs: int,
        outputs: int,
        size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        groups: int = 1,
    ) -> list[nn.Module]:
        """Raises ModelError."""
        raise _none("Conv2d")

    def conv1d(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
    ) -> list[nn.Module]:
        """Raises ModelError."""
        raise _none("Conv1d")

    def float_only(self, layer: nn.Module, name: str) -> list[nn.Module]:
        """Raises ModelError."""
        raise _none(name)

    def activation(self, chosen: Callable[[], nn.Module]) -> list[nn.Module]:
        """None but the p-bits' own."""
        return []

    def chain(self, layers: list[nn.Module]) -> nn.Module:
        """Machines, the readout last.

        Raises:
            ModelError: there is no hidden layer, or one that is no machine.
        """
        *hidden, readout = layers
        built: list[nn.Module] = []
        for layer in hidden:
            if type(layer) is nn.Linear:
                layer = BoltzmannLinear(layer.in_features, layer.out_features, self._settings)
            elif not isinstance(layer, nn.Flatten):
                raise _none(type(layer).__name__)
            built.append(layer)
        if not any(isinstance(layer, BoltzmannLinear) for layer in built):
            raise ModelError(
                "[arithmetic] name = 'p-bits': the model has no hidden layer, which would be of "
                "p-bits; use [model] name = 'perceptron' with hidden = [N]"
            )
        return nn.Sequential(*built, readout)


def _none(layer: str) -> ModelError:
    return ModelError(
        f"[arithmetic] name = 'p-bits': no {layer} of p-bits; use [model] name = 'perceptron'"
    )
