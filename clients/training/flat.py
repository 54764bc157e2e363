"""Weights that lie one behind the other in one array: looked at, copied and added up in one go.

Of a small client's round the most that is left beside its steps is Python, once for each layer.
"""

from collections.abc import Iterable, Iterator, Mapping
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

    begin: int
    end: int
    shape: tuple[int, ...]

    def of(self, flat: NDArray) -> NDArray:
        """The array, in the memory of the flat one."""
        return flat[self.begin : self.end].reshape(self.shape)


class Layout:
    """Names and shapes of arrays, in the order in which they lie.

    Attributes:
        parts: by name.
        size: numbers in all of them.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.parts: dict[str, Part] = {}
        self.size = 0
        for name, shape in shapes:
            begin, self.size = self.size, self.size + prod(shape)
            self.parts[name] = Part(begin, self.size, shape)
        self.shapes = dict(shapes)

    def is_of(self, state: Mapping[str, Tensor], flat: Tensor) -> bool:
        """Do these tensors lie so in that one?"""
        start, item = flat.data_ptr(), flat.element_size()
        return self.size == flat.numel() and all(
            tensor.is_contiguous() and tensor.data_ptr() == start + item * part.begin
            for tensor, part in zip(state.values(), self.parts.values(), strict=True)
        )


class Parts(Mapping[str, NDArray]):
    """The arrays of a flat one, each made when it is asked for.

    Args:
        names: all of them, in the order of whoever asks.
    """

    def __init__(self, flat: NDArray, layout: Layout, names: Iterable[str]) -> None:
        self.flat, self.layout, self._names = flat, layout, names

    def __getitem__(self, name: str) -> NDArray:
        return self.layout.parts[name].of(self.flat)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self.layout.parts)


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
