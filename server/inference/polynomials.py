"""Activations that are no polynomial, as quadratics: what a square and the maps around it compute.

Leveled FHE adds and multiplies. A quadratic takes no more depth than a square does: c0 + c1 z + c2
z^2 is a square of z shifted, times a factor that the next map takes up; where c2 is small beside
c1, and the shift would drown the rest, it is the difference of two squares.

Each unit has a quadratic of its own, by least squares over what drawn records make of it: public
ones, anywhere between the bounds of what a record can be (`server.inference.synthetic`). The range
that weights and bounds imply by themselves, with every input at its worse end, is an order wider
than what any record reaches: of a perceptron of ReLUs with 82.4 % accuracy, quadratics fitted on
that range left 28.7 %, and these 82.0 %.

Shapes: B records, R units, Q squares.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from privacy.encrypted.net import Array, Dense, Places

FITTED = (
    *(nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
)
FARTHEST = 4.0  # of a square's lowest point from the middle, in half widths of the unit's range


@dataclass(frozen=True, eq=False)
class Squares:
    """constant + the sum, over a unit's squares, of factor (scale z + shift)^2.

    Attributes:
        unit: [Q], the unit of each square, ascending.
        scale, shift, factor: [Q].
        constant: [R].
    """

    unit: Places
    scale: Array
    shift: Array
    factor: Array
    constant: Array

    def __call__(self, z: Array) -> Array:
        """z [B, R] -> [B, R]"""
        squares = self.factor * np.square(self.scale * z[:, self.unit] + self.shift)
        return self.constant + np.add.reduceat(
            squares, np.unique(self.unit, return_index=True)[1], 1
        )

    def before(self, layer: Dense) -> Dense:
        """The layer that gives what is squared, from one that gives z."""
        return Dense(
            layer.weight[self.unit] * self.scale[:, None],
            layer.bias[self.unit] * self.scale + self.shift,
            None if layer.support is None else layer.support[self.unit],
        )

    def behind(self, layer: Dense) -> Dense:
        """The layer that reads squares, from one that reads what they stand for."""
        return Dense(
            layer.weight[:, self.unit] * self.factor,
            layer.bias + layer.weight @ self.constant,
            None if layer.support is None else layer.support[:, self.unit],
        )


def fit(activation: nn.Module, z: Array) -> Squares:
    """The quadratics nearest to an activation over z [B, R]."""
    with torch.no_grad():
        wanted_BR = activation(torch.from_numpy(z)).numpy()
    middle, reach = (z.max(0) + z.min(0)) / 2, (z.max(0) - z.min(0)) / 2
    reach[reach == 0] = 1.0
    t_BR = (z - middle) / reach
    powers_BR3 = np.stack([np.ones_like(t_BR), t_BR, np.square(t_BR)], 2)
    moments = np.einsum("bri,brj->rij", powers_BR3, powers_BR3, optimize=True)
    products = np.einsum("bri,br->ri", powers_BR3, wanted_BR, optimize=True)
    c0, c1, c2 = np.einsum("rij,rj->ir", np.linalg.pinv(moments, hermitian=True), products)
    twice = np.abs(c1) > 2 * FARTHEST * np.abs(c2)
    lowest = np.divide(c1, 2 * c2, out=np.zeros_like(c1), where=~twice & (c2 != 0))
    unit = np.repeat(np.arange(len(c1)), 1 + twice)
    sign = np.ones(len(unit))  # 4 t = (t + 1)^2 - (t - 1)^2
    sign[1:][unit[1:] == unit[:-1]] = -1
    each = twice[unit]
    return Squares(
        unit,
        1 / reach[unit],
        np.where(each, sign, lowest[unit]) - (middle / reach)[unit],
        np.where(each, c2[unit] / 2 + sign * c1[unit] / 4, c2[unit]),
        np.where(twice, c0 - c2, c0 - c2 * np.square(lowest)),
    )
