"""Autoencoder: dense layers down to a few numbers, and back to the record.

After the anomaly detector of MLPerf Tiny (Koizumi et al., "ToyADMOS", 2019): what it cannot give
back is unlike what it was trained on. GroupNorm of one group stands for BatchNorm.
"""

import math
from itertools import pairwise

from torch import nn

from clients.models.nets.perceptron import ACTIVATIONS
from clients.models.nets.shapes import told
from clients.models.settings import Model
from clients.protocol import Form, Layers
from privacy.errors import ModelError


def build_autoencoder(model: Model, form: Form, arithmetic: Layers) -> nn.Module:
    """`depth` (4) layers of `width` (128) on each side of `latent` (8) numbers: [B, *] -> [B, F].

    Raises:
        ModelError: the task is another than to give the record back.
    """
    size = math.prod(form.shape)
    if form.outputs != size:
        raise ModelError(
            f"[model] name = 'autoencoder': gives back the {told(form.shape)} numbers of a record, "
            f"and {form.outputs} are asked for; say [data] task = 'itself', or use perceptron"
        )
    side = [model.width or 128] * (model.depth or 4)
    layers: list[nn.Module] = [nn.Flatten(), *arithmetic.entrance()]
    widths = [size, *side, model.latent, *side]
    for before, after in pairwise(widths):
        layers += [
            *arithmetic.linear(before, after),
            nn.GroupNorm(1, after),
            *arithmetic.activation(ACTIVATIONS[model.activation]),
        ]
    return arithmetic.chain([*layers, *arithmetic.linear(widths[-1], size)])
