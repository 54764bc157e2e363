"""Weights that lie one behind the other in one array: looked at, copied and added up in one go.

Of a small client's round the most that is left beside its steps is Python, once for each layer.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.draws import digest

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Part(NamedTuple):
    """Where an array lies in the flat one."""

    name: str
    begin: int
    end: int
    shape: tuple[int, ...]


class Layout:
    """Names and shapes of arrays, in the order in which they lie. Made by `layout_of`, which gives
    the same for the same.

    Attributes:
        size: numbers in all of them.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._parts, self.size = [], 0
        for name, shape in shapes:
            begin, self.size = self.size, self.size + prod(shape)
            self._parts.append(Part(name, begin, self.size, shape))

    def views(self, flat: NDArray) -> dict[str, NDArray]:
        """The arrays by name, in the memory of the flat one."""
        return {name: flat[begin:end].reshape(s) for name, begin, end, s in self._parts}

    def is_of(self, state: Mapping[str, Tensor], flat: Tensor) -> bool:
        """Do these tensors lie so in that one?"""
        start, item = flat.data_ptr(), flat.element_size()
        found = zip(state.values(), self._parts, strict=True)
        return self.size == flat.numel() and all(
            tensor.is_contiguous() and tensor.data_ptr() == start + item * part.begin
            for tensor, part in found
        )


def layout_of(weights: Mapping[str, NDArray]) -> Layout | None:
    """How such weights lie one behind the other; None if they cannot.

    They are all float32, and none is a single number: in sums numpy takes those for Python's.
    """
    if any(w.dtype != np.float32 or not w.ndim for w in weights.values()):
        return None
    return _layout(tuple((name, w.shape) for name, w in weights.items()))


_layout = lru_cache(maxsize=16)(Layout)


class Start:
    """The weights at which a round begins: many clients of a thread are told the same.

    Attributes:
        state: by name; nobody writes to them.
        arrays: the same, as numpy's.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state
        self.arrays = {name: tensor.numpy() for name, tensor in state.items()}

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of their numbers."""
        return digest(self.state.values())

    @cached_property
    def flat(self) -> Tensor:
        """One behind the other; of weights of a `Layout`."""
        return torch.cat([tensor.reshape(-1) for tensor in self.state.values()])
