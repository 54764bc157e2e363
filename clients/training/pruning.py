"""[pruning]: weights that are zero and stay zero.

Which they are is read off weights that have been released: the initial ones, or the noisy ones of a
round, the smallest of each layer. That is post-processing and spends nothing; and no mask is ever
sent, for it is where the global weights are zero. Of a pruned weight a device makes no update and
adds no noise, since it takes the noisy sum as nothing there, and it sends nothing of it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from privacy.settings import Range, Section

if TYPE_CHECKING:  # a section of settings needs no torch
    from torch import Tensor

Weights = dict[str, NDArray]


class Pruning(Section):
    """Which weights are pruned, and when.

    Attributes:
        weight: the share of each layer's weights that is zero in the end, those of least magnitude;
            biases, scales and shifts are left. 0 prunes nothing.
        gradual: after each round some more, and the last after three quarters of the rounds (Zhu
            and Gupta 2017, equation 1); else all before the first round, of the initial weights.
    """

    weight: Annotated[float, Range(0.01, 0.999, or_zero=True)] = 0.0
    gradual: bool = False

    def share(self, number: int, rounds: int) -> float:
        """That is zero after round `number`, which is 0 before the first."""
        if not self.gradual:
            return self.weight
        done = min(1.0, number / max(1, round(0.75 * rounds)))
        return self.weight * (1 - (1 - done) ** 3)

    def prune(self, weights: Mapping[str, NDArray], number: int, rounds: int) -> Weights:
        """Released weights with the least of each layer's put to zero; those that were are least.

        Args:
            weights: of all that is trained.
            number: of the round that released them.
        """
        share = self.share(number, rounds)
        pruned = {}
        for name, array in weights.items():
            pruned[name] = array
            num = int(share * array.size)
            if num and is_pruned(array):
                flat = array.flatten()
                flat[np.argsort(np.abs(flat), kind="stable")[:num]] = 0
                pruned[name] = flat.reshape(array.shape)
        return pruned

    def hold(self, weights: Mapping[str, NDArray], before: Mapping[str, NDArray]) -> Weights:
        """Weights that were zero before, zero again, whatever a server's strategy made of them."""
        if not self.weight:
            return dict(weights)
        return {
            name: np.where(before[name] != 0, array, array.dtype.type(0))
            if is_pruned(before[name])
            else array
            for name, array in weights.items()
        }

    def squeeze(self, weights: Mapping[str, NDArray], before: Mapping[str, NDArray]) -> Weights:
        """What is sent: of each layer the weights that were not zero before, in their order."""
        if not self.weight:
            return dict(weights)
        return {
            name: array[before[name] != 0] if is_pruned(before[name]) else array
            for name, array in weights.items()
        }

    def spread(self, sent: Mapping[str, NDArray], before: Mapping[str, NDArray]) -> Weights:
        """The inverse of `squeeze`."""
        if not self.weight:
            return dict(sent)
        whole = {}
        for name, array in sent.items():
            whole[name] = array
            if is_pruned(before[name]):
                whole[name] = np.zeros_like(before[name])
                whole[name][before[name] != 0] = array
        return whole

    def kept(self, parameters: "list[Tensor]") -> "list[Tensor]":
        """Like each, 1 where it is trained and 0 where it is pruned; empty without pruning."""
        if not self.weight:
            return []
        import torch

        ones = [torch.ones_like(p.detach()) for p in parameters]
        return [
            one * (p.detach() != 0) if p.ndim > 1 else one
            for one, p in zip(ones, parameters, strict=True)
        ]


def is_pruned(array: NDArray) -> bool:
    """Is it a layer's weights, and not its bias, scale, shift or counter?"""
    return array.ndim > 1 and array.dtype.kind == "f"


def zeros_of(weights: Mapping[str, NDArray]) -> float:
    """Which share of the layers' weights is zero."""
    layers = [array for array in weights.values() if is_pruned(array)]
    return sum(int((a == 0).sum()) for a in layers) / max(1, sum(a.size for a in layers))
