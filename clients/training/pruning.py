"""[pruning]: weights that are zero and stay zero, and activations that are put to zero.

Which weights they are is read off weights that have been released: the initial ones, or the noisy
ones of a round, the smallest of each layer. That is post-processing and spends nothing; and no mask
is ever sent, for it is where the global weights are zero. Of a pruned weight a device makes no
update and adds no noise, since it takes the noisy sum as nothing there, and it sends nothing of it.
No mask is drawn from a gradient. Activations are a record's own: none is seen outside the device.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from privacy.settings import Range, Section

if TYPE_CHECKING:  # a section of settings needs no torch
    from torch import Tensor

Weights = dict[str, NDArray]
Masks = dict[str, NDArray[np.bool_]]

BLOCKS = "[1-9][0-9]?:[1-9][0-9]?"
SHARE = r"0?\.[0-9]{1,6}"


class Pruning(Section):
    """Which weights are pruned, and when; and which activations.

    Attributes:
        weight: the share of each layer's weights that is zero in the end, those of least magnitude;
            biases, scales and shifts are left. 0 prunes nothing.
        structured: what is pruned together: `filters`, with their biases, but those that answer;
            `channels`, which a layer reads; by their norm (Li et al. 2017). Or `N:M`, which keeps N
            of each M weights along the channels (Zhou et al. 2021), and so says the share itself.
        gradual: after each round some more, and the last after three quarters of the rounds (Zhu
            and Gupta 2017, equation 1); else all before the first round, of the initial weights.
        activation: what is kept of what each activation gives, record by record: `top:SHARE`, those
            of greatest magnitude; `threshold:VALUE`, those at or above it; `none` is all.
    """

    weight: Annotated[float, Range(0.01, 0.999, or_zero=True)] = 0.0
    structured: str = Field(default="none", pattern=f"^(none|filters|channels|{BLOCKS})$")
    gradual: bool = False
    activation: str = Field(
        default="none", pattern=rf"^(none|top:{SHARE}|threshold:[0-9]{{0,3}}\.?[0-9]{{1,6}})$"
    )

    @model_validator(mode="after")
    def _is_one_share(self) -> "Pruning":
        if self.block and self.weight:
            raise ValueError(
                f"[pruning] weight = {self.weight:g}: structured = {self.structured!r} says how "
                "many are kept; leave weight out"
            )
        if self.block and self.block[0] >= self.block[1]:
            raise ValueError(
                f"[pruning] structured = {self.structured!r}: keeps N of each M, and N must be "
                "fewer; use '2:4'"
            )
        if self.structured in SMALLEST and not self.weight:
            raise ValueError(
                f"[pruning] structured = {self.structured!r}: needs the share that is pruned; add "
                "weight = 0.5"
            )
        kind, _, value = self.activation.partition(":")
        if kind != "none" and not float(value):
            raise ValueError(f"[pruning] activation = {self.activation!r}: must be above 0")
        return self

    @property
    def block(self) -> tuple[int, int] | None:
        """N and M, where N of each M weights are kept."""
        kept, _, length = self.structured.partition(":")
        return (int(kept), int(length)) if length else None

    @property
    def final(self) -> float:
        """The share of a layer's weights, filters or channels that is zero in the end."""
        return 1 - self.block[0] / self.block[1] if self.block else self.weight

    @property
    def told(self) -> str:
        """The setting that prunes weights, as a line of the file."""
        if self.block:
            return f"structured = {self.structured!r}"
        return f"weight = {self.weight:g}"

    def share(self, number: int, rounds: int) -> float:
        """That is zero after round `number`, which is 0 before the first."""
        if not self.gradual:
            return self.final
        done = min(1.0, number / max(1, round(0.75 * rounds)))
        return self.final * (1 - (1 - done) ** 3)

    def prune(self, weights: Mapping[str, NDArray], number: int, rounds: int) -> Weights:
        """Released weights with the least of each layer's put to zero; those that were are least.

        Args:
            weights: of all that is trained and may be pruned, with their biases.
            number: of the round that released them.
        """
        share, pruned = self.share(number, rounds), dict(weights)
        for name, array in weights.items():
            if is_pruned(array):
                pruned[name] = self._without_least(array, share)
        return self.hold(pruned, pruned)

    def _without_least(self, array: NDArray, share: float) -> NDArray:
        if self.block:
            return _least_of_blocks(array, self.block[1], share)
        return SMALLEST.get(self.structured, _least)(array, share)

    def masks(self, weights: Mapping[str, NDArray]) -> Masks:
        """Of each array of which something may be pruned, where it is kept: read off its zeros."""
        if not self.final:
            return {}
        found = {name: array != 0 for name, array in weights.items() if is_pruned(array)}
        if self.structured == "filters":
            for name, kept in list(found.items()):
                bias = name.removesuffix("weight") + "bias"
                if bias in weights:
                    found[bias] = kept.reshape(len(kept), -1).any(1)
        return found

    def hold(self, weights: Mapping[str, NDArray], before: Mapping[str, NDArray]) -> Weights:
        """Weights that were zero before, zero again, whatever a server's strategy made of them."""
        return dict(weights) | {
            name: np.where(kept, weights[name], weights[name].dtype.type(0))
            for name, kept in self.masks({n: before[n] for n in weights}).items()
        }

    def squeeze(self, weights: Mapping[str, NDArray], before: Mapping[str, NDArray]) -> Weights:
        """What is sent: of each layer the weights that were not zero before, in their order."""
        masks = self.masks(before)
        return dict(weights) | {name: weights[name][kept] for name, kept in masks.items()}

    def spread(self, sent: Mapping[str, NDArray], before: Mapping[str, NDArray]) -> Weights:
        """The inverse of `squeeze`."""
        whole = dict(sent)
        for name, kept in self.masks(before).items():
            whole[name] = np.zeros_like(before[name])
            whole[name][kept] = sent[name]
        return whole

    def kept(self, parameters: "Mapping[str, Tensor]") -> "list[Tensor]":
        """Like each, 1 where it is trained and 0 where it is pruned; empty without pruning."""
        if not self.final:
            return []
        import torch

        masks = self.masks({name: p.detach().cpu().numpy() for name, p in parameters.items()})
        return [
            torch.from_numpy(masks[name]).to(p.device, p.dtype)
            if name in masks
            else torch.ones_like(p.detach())
            for name, p in parameters.items()
        ]


def is_pruned(array: NDArray) -> bool:
    """Is it a layer's weights, and not its bias, scale, shift or counter?"""
    return array.ndim > 1 and array.dtype.kind == "f"


def zeros_of(weights: Mapping[str, NDArray]) -> float:
    """Which share of the layers' weights is zero."""
    layers = [array for array in weights.values() if is_pruned(array)]
    return sum(int((a == 0).sum()) for a in layers) / max(1, sum(a.size for a in layers))


# ---- which are least: of an array, those put to zero


def _least(array: NDArray, share: float) -> NDArray:
    """By magnitude, the earlier of equals first."""
    flat = array.flatten()
    flat[np.argsort(np.abs(flat), kind="stable")[: int(share * array.size)]] = 0
    return flat.reshape(array.shape)


def _least_filters(array: NDArray, share: float) -> NDArray:
    """Whole rows [O, ...], by their norm; one is left."""
    norms = np.linalg.norm(array.reshape(len(array), -1).astype(np.float64), axis=1)
    gone = array.copy()
    gone[np.argsort(norms, kind="stable")[: min(int(share * len(norms)), len(norms) - 1)]] = 0
    return gone


def _least_channels(array: NDArray, share: float) -> NDArray:
    """Whole columns [O, I, ...], by their norm; one is left."""
    return np.ascontiguousarray(_least_filters(array.swapaxes(0, 1), share).swapaxes(0, 1))


def _least_of_blocks(array: NDArray, length: int, share: float) -> NDArray:
    """Of each `length` weights along the channels [O, I, ...]; what is left over stays."""
    rows = np.moveaxis(array, 1, -1).copy()
    whole = rows.shape[-1] // length * length
    blocks = rows[..., :whole].reshape(-1, length).copy()
    least = np.argsort(np.abs(blocks), axis=1, kind="stable")[:, : int(share * length + 1e-9)]
    np.put_along_axis(blocks, least, 0, axis=1)
    rows[..., :whole] = blocks.reshape(*rows.shape[:-1], whole)
    return np.ascontiguousarray(np.moveaxis(rows, -1, 1))


SMALLEST: dict[str, Callable[[NDArray, float], NDArray]] = {
    "filters": _least_filters,
    "channels": _least_channels,
}
