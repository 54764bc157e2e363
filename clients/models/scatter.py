"""Scatter: a linear head on a fixed scattering transform (Tramer and Boneh 2021).

The transform learns nothing, so it costs no privacy; each record is normalised by itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clients.models.scattering import BLOCK, scatter, scattering_steps
from clients.models.settings import Model
from clients.models.transform import Step, Transform
from clients.protocol import Layers
from privacy.errors import ModelError

CHANNELS, GROUPS = 81, 27  # two scales, eight orientations


def scatter_features(images: Tensor) -> Tensor:
    """Scattering coefficients, group-normalised within each record.

    Args:
        images: float32 [N, H, W] in [0, 1].

    Returns:
        float16 [N, 81 * H/4 * W/4].

    Raises:
        ModelError: images whose sides are not multiples of 4, or under 8.
    """
    try:
        coefficients = scatter(images)
    except ValueError as error:
        raise ModelError(f"[model] name = 'scatter': {error}; use perceptron") from None
    return F.group_norm(coefficients, GROUPS).flatten(1).to(torch.float16)


def scatter_steps(shape: tuple[int, ...]) -> list[Step]:
    """What `scatter_features` does to one image."""
    steps = scattering_steps(*shape)
    return [*steps, Step("normalise", (len(steps) - 1,), steps[-1].size)]


SCATTERING = Transform(scatter_features, scatter_steps, BLOCK)


def build_scatter(
    model: Model, shape: tuple[int, ...], num_classes: int, arithmetic: Layers
) -> nn.Module:
    """The linear head, from zero: a convex problem whose start favours no class."""
    head = arithmetic.linear(CHANNELS * (shape[0] // 4) * (shape[1] // 4), num_classes)
    net = arithmetic.chain([nn.Flatten(), *head])
    for p in net.parameters():
        nn.init.zeros_(p)
    return net
