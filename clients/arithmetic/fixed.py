"""fixed, ternary and binary: weights in few bits, activations and gradients in k-bit words."""

from collections.abc import Callable

from torch import Tensor, nn

from clients.arithmetic import projections
from clients.arithmetic.layers import (
    ArithmeticConv1d,
    ArithmeticConv2d,
    ArithmeticLinear,
    KeepRange,
    Projection,
    Sign,
    Threshold,
)
from clients.arithmetic.projections import Projected
from clients.arithmetic.rounding import RoundGradient, RoundInput
from clients.arithmetic.settings import Arithmetic
from clients.protocol import Size
from privacy.errors import ModelError


class FixedLayers:
    """Dense layers and convolutions on words.

    With one-bit activations, inputs are compared with a threshold, activations are signs, and the
    model's own activation is left out.
    """

    def __init__(self, settings: Arithmetic) -> None:
        self._settings = settings
        self._formats = settings.formats

    def entrance(self) -> list[nn.Module]:
        """A threshold for one-bit inputs."""
        return [Threshold(self._settings.threshold)] if self._formats.activation_bits == 1 else []

    def linear(self, inputs: int, outputs: int) -> list[nn.Module]:
        """Round inputs, multiply by projected weights, round the gradient."""
        layer = ArithmeticLinear(inputs, outputs, self.projection())
        if self._settings.scaling == "none":  # only signs count: begin well inside the window
            nn.init.uniform_(layer.weight, -0.3, 0.3)
        layers = self._between(layer)
        if bits := self._settings.accumulator_bits:
            layers.append(KeepRange(((1 << bits - 1) - 1) * self._settings.gain * inputs**-0.5))
        return layers

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
        """As `linear`."""
        layer = ArithmeticConv2d(
            inputs,
            outputs,
            size,
            self.projection(),
            stride=stride,
            padding=padding,
            groups=groups,
        )
        return self._between(layer)

    def conv1d(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
    ) -> list[nn.Module]:
        """As `linear`."""
        layer = ArithmeticConv1d(
            inputs, outputs, size, self.projection(), stride=stride, padding=padding
        )
        return self._between(layer)

    def float_only(self, layer: nn.Module, name: str) -> list[nn.Module]:
        """Raises ModelError."""
        raise ModelError(
            f"[arithmetic] name = {self._settings.name!r}: has no {name}; use name = 'float', or a "
            "[model] of dense layers and convolutions"
        )

    def activation(self, chosen: Callable[[], nn.Module]) -> list[nn.Module]:
        """The chosen one, or the sign."""
        return [Sign(self._settings.slope)] if self._formats.activation_bits == 1 else [chosen()]

    def chain(self, layers: list[nn.Module]) -> nn.Module:
        """One after another."""
        return nn.Sequential(*layers)

    def _between(self, layer: nn.Module) -> list[nn.Module]:
        before, after = self._formats.activation_bits, self._formats.gradient_bits
        stochastic = self._settings.rounding == "stochastic"
        return [
            *(
                [RoundInput(before, stochastic, self._settings.fault_rate)]
                if 1 < before < 32
                else []
            ),
            layer,
            *([RoundGradient(after)] if after < 32 else []),
        ]

    def projection(self) -> Projection:
        """How a layer's weights become words."""
        chosen = self._settings
        optimised = chosen.projection == "optimised"

        def fixed(rows: Tensor, draw: Tensor | None) -> Projected:
            return projections.fixed(rows, chosen.bits, optimised, draw)

        def ternary(rows: Tensor, draw: Tensor | None) -> Projected:
            return projections.ternary(rows, optimised)

        def binary(rows: Tensor, draw: Tensor | None) -> Projected:
            return projections.binary(rows)

        project = {"fixed": fixed, "ternary": ternary, "binary": binary}[chosen.name]
        stochastic = chosen.name == "fixed" and chosen.rounding == "stochastic"
        return Projection(
            project,
            chosen.scaling,
            stochastic=stochastic,
            bits=self._formats.weight_bits,
            gain=chosen.gain,
            fault_rate=chosen.fault_rate,
        )
