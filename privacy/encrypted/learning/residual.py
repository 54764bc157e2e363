"""The residual of a linear model as a polynomial, and the most that one record adds to a gradient.

A step sums r(m) x over all records: x a record of norm 1 or less, m = W x its margins, one of each
output, and r(m) = q(m) - t, where q stands in the place of probabilities less their middle, t is a
label less the same. q is odd and cubic, m (slope - cubic s), in one of two forms:

- each output against the rest: s = m^2, elementwise; q is the least squares fit to the sigmoid less
  1/2 on [-reach, reach], as in Kim et al. 2018 (JMIR Medical Informatics 6:e19, section
  "approximation of sigmoid"); t = +-1/2.
- softmax of K outputs, `joint`: s = |m|^2 of all margins; q is the least squares fit to softmax
  less 1/K where one class is ahead of the others, which are alike, by margins of norm up to reach;
  t, a label's indicator less 1/K, has norm sqrt(1 - 1/K). Of two classes both forms are one. (Slope
  1/2 and no cubic would be the quadratic bound of Boehning 1992, Annals of the Institute of
  Statistical Mathematics 44:197, about margins of zero: squared error.)

What is claimed of one record rests on norms alone. As W lies in a ball of radius `bound` (each row,
or, if `joint`, all of it in Frobenius' norm), no margin's norm leaves [0, bound], whatever the
record; there |q| is at most its value at `peak`, and so |r x| at most `sensitivity`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = 2001  # points of the fit
MOST_OFFSET = 4.0  # of a cubic's (`Residual.offset`): a larger one is all but a straight line

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Residual:
    """r(m) = m (slope - cubic s) - t.

    Attributes:
        slope: > 0.
        cubic: >= 0; 0 is the residual of least squares.
        bound: on the norm of the weights, and so on margins.
        outputs: one, of two classes; else one of each class.
        joint: outputs are one softmax, of which margins sum to zero.
    """

    slope: float
    cubic: float
    bound: float
    outputs: int = 1
    joint: bool = False

    @classmethod
    def logistic(cls, reach: float, bound: float, outputs: int = 1) -> "Residual":
        """Of the logistic loss, close to it where |m| <= reach."""
        m = np.linspace(-reach, reach, GRID)
        return cls(*_fit(m, 1 / (1 + np.exp(-m)) - 0.5), bound, outputs)

    @classmethod
    def linear(cls, bound: float, outputs: int = 1) -> "Residual":
        """Of squared error."""
        return cls(1.0, 0.0, bound, outputs)

    @classmethod
    def softmax(cls, reach: float, bound: float, outputs: int) -> "Residual":
        """Of the cross entropy of several classes, close to it where |m| <= reach."""
        norm, middle = np.linspace(0, reach, GRID), 1 / outputs
        stretch = 1 / math.sqrt(1 - middle)  # from a norm to how far the first is ahead
        ahead = 1 / (1 + (outputs - 1) * np.exp(-norm * stretch))
        return cls(*_fit(norm, (ahead - middle) * stretch), bound, outputs, joint=True)

    def of(self, margins: Any) -> Any:
        """q(m) of margins [..., K]."""
        squares = margins * margins
        if self.joint:
            squares = squares.sum(-1, keepdims=True)
        return margins * (self.slope - self.cubic * squares)

    def targets(self, labels: NDArray[Any]) -> Array:
        """t [N, K] of labels [N]: of two classes the second is the one output."""
        first = 1 if self.outputs == 1 else 0
        chosen = labels[:, None] == np.arange(first, first + self.outputs)
        return chosen - (1 / self.outputs if self.joint else 0.5)

    @cached_property
    def peak(self) -> float:
        """Where |q| is largest within the bound: a margin's norm. At its end, or where q' = 0."""
        ends = [self.bound]
        if self.cubic > 0:
            turn = math.sqrt(self.slope / (3 * self.cubic))
            ends += [turn] * (turn < self.bound)
        return max(ends, key=lambda m: abs(self.along(m)))

    def along(self, norm: float) -> float:
        """q of one margin, or in the direction of several of that norm."""
        return norm * (self.slope - self.cubic * norm * norm)

    @property
    def most(self) -> float:
        """The most that a number of r is."""
        target = math.sqrt(1 - 1 / self.outputs) if self.joint else 0.5
        return abs(self.along(self.peak)) + target

    @property
    def sensitivity(self) -> float:
        """The most that the norm of r is, over all outputs."""
        return self.most if self.joint else math.sqrt(self.outputs) * self.most

    @property
    def unit(self) -> float:
        """By which weights are multiplied before encryption, so that the cube needs no factor."""
        return float(np.cbrt(self.cubic)) if self.cubic else self.slope

    @property
    def offset(self) -> float:
        """In units of that, q = u (offset - u^2), or u."""
        return self.slope / self.unit

    def project(self, weights: Array) -> Array:
        """Weights [K, D] into the ball of radius `bound`: each row; of a softmax all, centred."""
        if self.joint:
            weights = weights - weights.mean(0)
        norms = np.linalg.norm(weights, axis=None if self.joint else 1, keepdims=True)
        return weights * np.minimum(1.0, self.bound / np.maximum(norms, self.bound))


def _fit(m: Array, values: Array) -> tuple[float, float]:
    """Slope and cubic of the least squares fit m (slope - cubic m^2) to values at m.

    Cubic is 0 where values hardly level off yet, as softmax of many classes close to zero.
    """
    powers = np.stack([m, -(m**3)], axis=1)
    slope, cubic = np.linalg.lstsq(powers, values, rcond=None)[0]
    if cubic <= (slope / MOST_OFFSET) ** 3:
        slope, cubic = m @ values / (m @ m), 0.0
    return float(slope), float(cubic)


def prepare(inputs: Array) -> Array:
    """Records [N, D] -> of each its own mean taken away, then scaled to norm 1 (or 0).

    Each from itself alone, so that neighbouring data sets stay neighbours. A linear model of what
    comes out is one of what went in, up to a positive factor of each record.
    """
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(norms > 0, norms, 1.0)
