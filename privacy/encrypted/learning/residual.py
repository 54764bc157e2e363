"""The residual of a linear model as a polynomial, and the most that one record adds to a gradient.

A step sums r(m) x over all records: x a record of norm 1 or less, m = w . x its margin, and r(m) =
q(m) - t, where q stands in the place of the sigmoid less 1/2, and t is +-1/2 (or the target of a
linear model, of size 1/2 or less). q is odd and cubic: the least squares fit to the sigmoid on
[-reach, reach], as in Kim et al. 2018 (JMIR Medical Informatics 6:e19, section "approximation of
sigmoid").

What is claimed of one record rests on norms alone. As w lies in a ball of radius `bound`, no margin
leaves [-bound, bound], whatever the record; there |r| is at most `sensitivity`, by the polynomial's
own extrema, and so is the norm of r x.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = 2001  # points of the fit
MOST_TARGET = 0.5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Residual:
    """r(m) = slope m - cubic m^3 - t.

    Attributes:
        slope: > 0.
        cubic: >= 0; 0 is the residual of least squares.
        bound: on the norm of the weights, and so on every margin.
    """

    slope: float
    cubic: float
    bound: float

    @classmethod
    def logistic(cls, reach: float, bound: float) -> "Residual":
        """Of the logistic loss, close to it where |m| <= reach."""
        m = np.linspace(-reach, reach, GRID)
        powers = np.stack([m, -(m**3)], axis=1)
        slope, cubic = np.linalg.lstsq(powers, 1 / (1 + np.exp(-m)) - 0.5, rcond=None)[0]
        return cls(float(slope), float(cubic), bound)

    @classmethod
    def linear(cls, bound: float) -> "Residual":
        """Of squared error."""
        return cls(1.0, 0.0, bound)

    def of(self, margins: Any) -> Any:
        """q(m), elementwise."""
        return margins * (self.slope - self.cubic * margins * margins)

    @cached_property
    def sensitivity(self) -> float:
        """The most that |r(m)| is on |m| <= bound, |t| <= 1/2: at an end, or where q' = 0."""
        ends = [self.bound]
        if self.cubic > 0:
            turn = math.sqrt(self.slope / (3 * self.cubic))
            ends += [turn] * (turn < self.bound)
        return max(abs(self.of(m)) for m in ends) + MOST_TARGET

    @property
    def unit(self) -> float:
        """By which weights are multiplied before encryption, so that the cube needs no factor."""
        return float(np.cbrt(self.cubic)) if self.cubic else 1.0

    @property
    def offset(self) -> float:
        """In units of that, q = u (offset - u^2)."""
        return self.slope / self.unit

    def project(self, weights: Array) -> Array:
        """Weights [K, D], each row moved into the ball of radius `bound`."""
        norms = np.linalg.norm(weights, axis=1, keepdims=True)
        return weights * np.minimum(1.0, self.bound / np.maximum(norms, self.bound))


def prepare(inputs: Array) -> Array:
    """Records [N, D] -> of each its own mean taken away, then scaled to norm 1 (or 0).

    Each from itself alone, so that neighbouring data sets stay neighbours. A linear model of what
    comes out is one of what went in, up to a positive factor of each record.
    """
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(norms > 0, norms, 1.0)
