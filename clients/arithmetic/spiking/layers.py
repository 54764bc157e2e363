"""What a spiking net is built of: dense layers and convolutions, neurons between."""

from collections.abc import Callable

from torch import nn

from clients.arithmetic.settings import Arithmetic
from clients.arithmetic.spiking.chain import AtEachStep, OverTime, SpikingChain
from clients.arithmetic.spiking.coding import Encoder
from clients.arithmetic.spiking.neurons import Neurons
from clients.arithmetic.spiking.plasticity import PlasticLinear
from clients.arithmetic.spiking.weights import SpikingConv2d, SpikingLinear
from clients.layers import AddChannel, MaxPool2d
from clients.protocol import Size
from privacy.errors import ModelError

WEIGHTS = (SpikingLinear, SpikingConv2d)
# What knows no time, and has no weights.
PASSED = (MaxPool2d, AddChannel, nn.AvgPool2d, nn.Flatten, nn.GroupNorm, nn.Identity)


class SpikingLayers:
    """Layers with neurons that fire in the place of the model's activation."""

    def __init__(self, settings: Arithmetic) -> None:
        self._settings = settings

    def entrance(self) -> list[nn.Module]:
        """Records as spikes, or as currents."""
        return [Encoder(self._settings)]

    def linear(self, inputs: int, outputs: int) -> list[nn.Module]:
        """Synapses."""
        return [SpikingLinear(inputs, outputs)]

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
        """Synapses that are shared by places; raises ModelError for groups of channels."""
        if groups > 1:
            raise _none("depthwise Conv2d")
        return [SpikingConv2d(inputs, outputs, size, stride=stride, padding=padding)]

    def conv1d(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
    ) -> list[nn.Module]:
        """Raises ModelError."""
        raise _none("Conv1d")

    def float_only(self, layer: nn.Module, name: str) -> list[nn.Module]:
        """Raises ModelError."""
        raise _none(name)

    def activation(self, chosen: Callable[[], nn.Module]) -> list[nn.Module]:
        """Neurons."""
        return [Neurons(self._settings)]

    def chain(self, layers: list[nn.Module]) -> nn.Module:
        """Layers with time between the first neurons, or the encoder, and the last layer.

        Raises:
            ModelError: nothing fires, or a layer knows nothing of time.
        """
        if not any(isinstance(layer, Neurons) for layer in layers):
            raise ModelError(
                "[arithmetic] name = 'spiking': no neuron would fire: the model has no hidden "
                "layer; use [model] name = 'perceptron' or 'convnet', with one at least"
            )
        if self._settings.coding != "current" and not any(isinstance(n, Encoder) for n in layers):
            raise ModelError(
                f"[arithmetic] coding = {self._settings.coding!r}: spikes begin with records as "
                "they are; use coding = 'current', or [model] name = 'perceptron' or 'convnet'"
            )
        last = max(at for at, layer in enumerate(layers) if isinstance(layer, WEIGHTS))
        if self._settings.learning != "surrogate":
            return self._plastic(layers, last)
        built: list[nn.Module] = []
        in_time = False
        for at, layer in enumerate(layers):
            if not isinstance(layer, (Encoder, Neurons, *WEIGHTS, *PASSED)):
                raise _none(type(layer).__name__)
            if any(True for _ in layer.parameters()) and not isinstance(layer, WEIGHTS):
                raise _none(f"{type(layer).__name__} with weights")
            if isinstance(layer, Neurons):
                layer.held, in_time = not in_time, True
            if isinstance(layer, Encoder):
                in_time = layer.fires
            if at == last:
                built.append(OverTime())
                in_time = False
            built.append(AtEachStep(layer) if isinstance(layer, PASSED) and in_time else layer)
        if in_time:
            raise ModelError(
                "[arithmetic] name = 'spiking': the model ends in an activation: its last layer "
                "must be a dense one, whose currents are the answer"
            )
        return SpikingChain(*built)

    def _plastic(self, layers: list[nn.Module], last: int) -> nn.Module:
        """Hidden layers that learn by spike timing, and a readout of their rates."""
        by = f"[arithmetic] learning = {self._settings.learning!r}"
        if self._settings.coding == "current":
            raise ModelError(f"{by}: a current has no timing; use coding = 'rate' or 'latency'")
        for layer in layers[:last]:
            if any(True for _ in layer.parameters()) and not isinstance(layer, SpikingLinear):
                raise _unlearnt(by, layer)
        built: list[nn.Module] = []
        for at, layer in enumerate(layers[: last + 1]):
            if at == last:
                built += [OverTime(), layer]
            elif isinstance(layer, SpikingLinear):
                built.append(PlasticLinear(layer.in_features, layer.out_features, self._settings))
            elif isinstance(layer, (Encoder, nn.Flatten)):
                built.append(layer)
            elif not isinstance(layer, Neurons):
                raise _unlearnt(by, layer)
        return SpikingChain(*built)


def _unlearnt(by: str, layer: nn.Module) -> ModelError:
    name = type(layer).__name__.removeprefix("Spiking")
    return ModelError(f"{by}: no {name} learns by it; use [model] name = 'perceptron'")


def _none(layer: str) -> ModelError:
    return ModelError(
        f"[arithmetic] name = 'spiking': no {layer} between spikes; use [model] name = "
        "'perceptron' or 'convnet', norm = 'none', or another arithmetic"
    )
