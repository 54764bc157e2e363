"""What a model is built of on streams: dense layers, convolutions as such, counters between."""

from collections.abc import Callable

from torch import nn

from clients.arithmetic.rounding import RoundGradient
from clients.arithmetic.settings import Arithmetic
from clients.arithmetic.streams.images import OrPool, Patches, ToImage
from clients.arithmetic.streams.stochastic import (
    Counter,
    Encoder,
    Gain,
    StochasticLinear,
    StreamChain,
)
from clients.layers import AddChannel, MaxPool2d
from clients.protocol import Size
from privacy.errors import ModelError


class StochasticLayers:
    """Layers on streams. The counter takes the place of the model's activation."""

    def __init__(self, settings: Arithmetic) -> None:
        self._settings = settings

    def entrance(self) -> list[nn.Module]:
        """Comparators."""
        return [Encoder(self._settings)]

    def linear(self, inputs: int, outputs: int) -> list[nn.Module]:
        """XNOR and sum; the gradient is sampled to one trit for each output.

        Raises:
            ModelError: more inputs than a 16-bit counter can take in one step.
        """
        most = (1 << 15) - (1 << self._settings.counter_bits >> 1)
        if inputs >= most:
            raise ModelError(
                f"[arithmetic] name = 'stochastic': a layer of {inputs} inputs; with counter_bits "
                f"= {self._settings.counter_bits} it may have {most - 1}: make it narrower"
            )
        gain = self._settings.gain * inputs**-0.5
        layer = StochasticLinear(self._settings, inputs, outputs)
        return [layer, RoundGradient(2), Gain(gain)]

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
        """A dense layer on square patches; raises ModelError for others, or groups of channels."""
        sides = [n if isinstance(n, tuple) else (n, n) for n in (size, stride, padding)]
        if groups > 1 or any(high != wide for high, wide in sides):
            raise _none("depthwise or oblong Conv2d")
        side, step, pad = (high for high, _ in sides)
        patches = Patches(side, step, pad)
        return [patches, *self.linear(inputs * side * side, outputs), ToImage()]

    def conv1d(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
    ) -> list[nn.Module]:
        """Raises ModelError."""
        raise _none("Conv1d")

    def float_only(self, layer: nn.Module, name: str) -> list[nn.Module]:
        """Raises ModelError."""
        raise _none(name)

    def activation(self, chosen: Callable[[], nn.Module]) -> list[nn.Module]:
        """The saturating counter."""
        return [Counter(self._settings.slope)]

    def chain(self, layers: list[nn.Module]) -> nn.Module:
        """Layers with streams between them.

        Raises:
            ModelError: the model does not begin with pixels, or streams cannot pass a layer.
        """
        if not any(isinstance(layer, Encoder) for layer in layers):
            raise ModelError(
                "[arithmetic] name = 'stochastic': streams begin with pixels in [0, 1]; use "
                "[model] name = 'perceptron'"
            )
        counted = False
        for layer in layers:
            counted |= isinstance(layer, Counter)
            if not isinstance(layer, PASSED):
                raise ModelError(
                    f"[arithmetic] name = 'stochastic': no {type(layer).__name__} on streams; "
                    "leave it out, as with [model] norm = 'none', or use another arithmetic"
                )
            if isinstance(layer, Patches) and layer.padding and counted:
                raise ModelError(
                    "[arithmetic] name = 'stochastic': the counters' streams have no zero to pad "
                    "with; use padding = 0 after the first layer"
                )
        dense = [layer for layer in layers if isinstance(layer, StochasticLinear)]
        for layer in dense[:-1]:
            layer.bound = 1 << self._settings.counter_bits >> 1
        pooled = (
            OrPool(layer.size, layer.stride) if isinstance(layer, MaxPool2d) else layer
            for layer in layers
        )
        return StreamChain(*pooled)


def _none(layer: str) -> ModelError:
    return ModelError(
        f"[arithmetic] name = 'stochastic': no {layer} on streams; use [model] name = 'perceptron' "
        "or 'convnet'"
    )


# What streams pass through; what is after the counters is about their shape only.
PASSED = (
    *(Encoder, StochasticLinear, RoundGradient, Gain, Counter, Patches, ToImage),
    *(MaxPool2d, AddChannel, nn.Flatten, nn.Identity),
)
