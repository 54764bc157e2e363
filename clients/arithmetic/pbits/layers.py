"""What a net of p-bits is built of: Boltzmann machines and a readout, or neurons of p-bits."""

from collections.abc import Callable

from torch import nn

from clients.arithmetic.pbits.machine import BoltzmannLinear
from clients.arithmetic.pbits.neurons import InvertibleLinear, InvertibleReadout, codes_of
from clients.arithmetic.settings import Arithmetic
from clients.protocol import Size
from privacy.errors import ModelError


class PbitLayers:
    """Hidden layers that are machines; the last is dense, in floats, and reads them."""

    name = "p-bits"

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
        raise self._none("Conv2d")

    def conv1d(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
    ) -> list[nn.Module]:
        """Raises ModelError."""
        raise self._none("Conv1d")

    def float_only(self, layer: nn.Module, name: str) -> list[nn.Module]:
        """Raises ModelError."""
        raise self._none(name)

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
                raise self._none(type(layer).__name__)
            built.append(layer)
        if not any(isinstance(layer, BoltzmannLinear) for layer in built):
            raise ModelError(
                "[arithmetic] name = 'p-bits': the model has no hidden layer, which would be of "
                "p-bits; use [model] name = 'perceptron' with hidden = [N]"
            )
        return nn.Sequential(*built, readout)

    def _none(self, layer: str) -> ModelError:
        return ModelError(
            f"[arithmetic] name = {self.name!r}: no {layer} of p-bits; use [model] name = "
            "'perceptron'"
        )


class InvertibleLayers(PbitLayers):
    """Neurons whose weights are p-bits, the readout's too."""

    name = "invertible"

    def chain(self, layers: list[nn.Module]) -> nn.Module:
        """Neurons, the readout last.

        Raises:
            ModelError: there is but one output, or a layer of something else.
        """
        *hidden, readout = layers
        assert isinstance(readout, nn.Linear)
        classes, threshold = readout.out_features, self._settings.threshold
        if classes < 2:
            raise ModelError(
                "[arithmetic] name = 'invertible': one output has no rival; use [data] task = "
                "'classes'"
            )
        built: list[nn.Module] = []
        below = None
        for layer in hidden:
            if type(layer) is nn.Linear:
                codes = codes_of(classes, layer.out_features)
                layer = InvertibleLinear(layer.in_features, codes, below, threshold)
                below = codes
            elif not isinstance(layer, nn.Flatten):
                raise self._none(type(layer).__name__)
            built.append(layer)
        last = InvertibleReadout(readout.in_features, classes, below, threshold)
        return nn.Sequential(*built, last)
