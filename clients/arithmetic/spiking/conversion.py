"""A trained net of ReLUs as a spiking one: the baseline of training through spikes.

A neuron that does not leak, and is reset by subtraction, fires at the rate of its current over its
threshold, cut to [0, 1]: over many steps that is a ReLU whose greatest value is 1. So each layer's
weights are divided by how much its ReLUs give, and multiplied with what the layer before was
divided by (Diehl et al., "Fast-classifying, high-accuracy spiking deep networks through weight and
threshold balancing", IJCNN 2015; not by the greatest value but by the 99.9th percentile, as
Rueckauer et al., "Conversion of continuous-valued deep networks to efficient event-driven networks
for image classification", Frontiers in Neuroscience 2017).
"""

from typing import Any

import torch
from torch import Tensor, nn

from clients.arithmetic.settings import Arithmetic
from clients.layers import AddChannel, MaxPool2d
from privacy.errors import ModelError, SettingsError

SHARE = 0.999  # of a layer's values that are no greater than what counts as 1
WEIGHTS = (nn.Linear, nn.Conv2d)
KNOWN = (*WEIGHTS, nn.ReLU, nn.Flatten, nn.Identity, AddChannel, MaxPool2d, nn.AvgPool2d)


def require_convertible(model: nn.Module, settings: Arithmetic) -> None:
    """Raises SettingsError: neurons that are no ReLUs over time; ModelError: a layer is none."""
    if settings.decay != 1 or settings.reset != "subtract" or settings.learning != "surrogate":
        raise SettingsError(
            "[arithmetic] name = 'spiking' for a net that was trained without: neurons must not "
            "leak; add -s arithmetic.decay=1, and leave reset and learning out"
        )
    for layer in model.modules():
        if not isinstance(layer, (nn.Sequential, *KNOWN)):
            raise ModelError(
                f"[arithmetic] name = 'spiking': a trained {type(layer).__name__} becomes no "
                "neurons; only ReLUs do: [model] activation = 'relu', norm = 'none'"
            )


def converted(
    model: nn.Module, spiking: nn.Module, x: Tensor, settings: Arithmetic
) -> dict[str, Tensor]:
    """The spiking net's state.

    Args:
        model: of ReLUs, trained. spiking: of the same layers.
        x: records [N, ...], in [0, 1], on which is seen how much a ReLU gives.

    Raises:
        SettingsError, ModelError: as `require_convertible`.
    """
    require_convertible(model, settings)
    theta = settings.threshold
    coded = settings.rate if settings.coding == "rate" else 1.0  # what an input of 1 comes as
    scales = [*_scales(model, x), 1.0]
    own, other = ([m for m in net.modules() if isinstance(m, WEIGHTS)] for net in (model, spiking))
    with torch.no_grad():
        for at, (trained, layer) in enumerate(zip(own, other, strict=True)):
            last = at == len(own) - 1
            by = (1.0 if last else theta) / scales[at]
            entering = scales[at - 1] if at else 1 / coded
            layer.weight.copy_(trained.weight * entering * by)
            if trained.bias is not None and layer.bias is not None:
                layer.bias.copy_(trained.bias * by)
    return spiking.state_dict()


def _scales(model: nn.Module, x: Tensor) -> list[float]:
    """What counts as 1 behind each ReLU, in order."""
    found: list[float] = []

    def note(_: nn.Module, __: Any, out: Tensor) -> None:
        ranked = out.flatten().sort().values
        found.append(max(float(ranked[int(SHARE * (len(ranked) - 1))]), 1e-6))

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.ReLU)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found
