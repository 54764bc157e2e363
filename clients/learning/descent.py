"""Nesterov's steps on gradients that a server computed and cannot read, and their noise.

Under a budget every step is one Gaussian mechanism on all records (no sampling, so nothing is
amplified): the sum of r x over records, to which one more adds at most `sensitivity` in norm,
because the point at which it is taken lies within the bound of `Residual.project`, and records have
norm 1 or less by `prepare`. Noise is added when the sum is decrypted, before anything is made of
it; all that follows (momentum, projection, the model) is computed from noisy sums alone.

What that covers is the model, and the owner's own file of weights. It is no protection from the
server, which sees ciphertexts alone; and it stands on the server's computing what it should: a sum
in which a record counted a thousand times would not be covered, nor could the owner tell.
"""

from dataclasses import dataclass, replace

import numpy as np

from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.grid import Grid
from privacy.dp.ledger import Spent
from privacy.dp.noise import Noise
from privacy.encrypted.learning.residual import Array, Residual


@dataclass(frozen=True)
class State:
    """Between two steps.

    Attributes:
        step: that are done.
        weights: [K, D]. point: where the next gradient is taken, [K, D].
    """

    step: int
    weights: Array
    point: Array

    @classmethod
    def start(cls, outputs: int, features: int) -> "State":
        """All zero."""
        return cls(0, np.zeros((outputs, features)), np.zeros((outputs, features)))


@dataclass(frozen=True)
class Descent:
    """How a state follows from the one before and a gradient.

    Attributes:
        residual: bounds what one record adds.
        rate: over the mean gradient.
        num_records: by which sums are divided; public.
        budget: with its noise multiplier; `unit = "none"` adds no noise.
        error: what encryption may add to a sum, in norm.
    """

    residual: Residual
    rate: float
    num_records: int
    budget: Budget
    error: float

    @property
    def cost(self) -> Spent | None:
        """Of a step; None without a budget."""
        if self.budget.unit == "none":
            return None
        return Spent(self.budget.noise_multiplier or 0.0, 1.0, 1)

    @property
    def sensitivity(self) -> float:
        """The most that one record moves a sum, in norm; of its error, both neighbours' counted."""
        return self.residual.sensitivity + 2 * self.error

    def released(self, total: Array, key: Key) -> Array:
        """The sum [K, D] as it may be used: with noise, under a budget.

        Args:
            key: of this step's noise alone.
        """
        if self.cost is None:
            return total
        clip = self.sensitivity
        grid = Grid.of(clip, total.size)
        grid = grid._replace(clip=clip * (1 + grid.share))  # which rounding adds
        noisy = np.empty(total.size)
        sigma = self.cost.noise_multiplier
        grid.noisy(total.ravel().copy(), sigma, Noise(key), noisy)
        return noisy.reshape(total.shape)

    def after(self, state: State, total: Array, key: Key) -> State:
        """The next state, from the sum at `state.point` [K, D].

        Nesterov (1983) with momentum k / (k + 3), as in Su, Boyd and Candes 2016, projected.
        """
        gradient = self.released(total, key) / self.num_records
        weights = self.residual.project(state.point - self.rate * gradient)
        momentum = state.step / (state.step + 3)
        point = self.residual.project(weights + momentum * (weights - state.weights))
        return replace(state, step=state.step + 1, weights=weights, point=point)
