"""What a trace has noted so far: layers, where each tensor comes from, and parameters in use."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from clients.chip.workloads.workload import Layer, Weights


class Held(NamedTuple):
    """Parameters that a layer is the first to use: of its nest, and words beside it."""

    weights: Weights
    bias: int
    constants: int


class Record:
    """The layers of one pass.

    A tensor is known by the memory it lies in, so a view is what it looks at. A tensor that was
    made of several layers' outputs comes from all of them.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self.layers: list[Layer] = []
        self.notes: dict[str, None] = {}
        self._named: dict[str, int] = {}
        self._origin: dict[int, tuple[int, ...]] = {_place(x): (-1,)}
        self._names: dict[int, tuple[str, ...]] = {}  # of parameters that made a tensor
        self._own: dict[int, str] = {}  # a parameter's own memory
        self._left: dict[str, int] = {}  # words that no layer has used yet
        self._trained = {name for name, p in model.named_parameters() if p.requires_grad}
        self._alive: list[Tensor] = [x]  # a place is one tensor's only while that tensor lives
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._names[_place(tensor)] = (name,)
            self._own[_place(tensor)] = name
            self._left[name] = tensor.numel()
            self._alive.append(tensor)

    # ---- where tensors come from

    def comes(self, tensor: Tensor) -> bool:
        """Does it depend on the record?"""
        return _place(tensor) in self._origin

    def sources(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        """Indices of the layers that made some tensors; -1 is the record itself."""
        found = [i for t in tensors for i in self._origin.get(_place(t), ())]
        return tuple(dict.fromkeys(found))

    def follow(self, outs: Iterable[Tensor], sources: tuple[int, ...]) -> None:
        """Note what made some tensors; one written in part comes from what it held, too."""
        for out in outs:
            place, whole = _place(out), out.numel() * out.element_size()
            before = self._origin.get(place, ())
            part = whole < out.untyped_storage().nbytes()
            self._origin[place] = tuple(dict.fromkeys((*before, *sources))) if part else sources
            self._alive.append(out)

    def add(self, layer: Layer, outs: Iterable[Tensor] = ()) -> int:
        """Note a layer and what it gives; returns its index. A second of its name is numbered."""
        self._named[layer.name] = number = self._named.get(layer.name, 0) + 1
        self.layers.append(layer if number == 1 else replace(layer, name=f"{layer.name} #{number}"))
        index = len(self.layers) - 1
        self.follow(outs, (index,))
        return index

    # ---- parameters

    def derive(self, outs: Iterable[Tensor], tensors: Iterable[Tensor]) -> None:
        """Note tensors that are made of parameters and of nothing else."""
        names = tuple(dict.fromkeys(n for t in tensors for n in self.names(t)))
        if not names:
            return
        for out in outs:
            place = _place(out)
            self._names[place] = tuple(dict.fromkeys((*self._names.get(place, ()), *names)))
            self._alive.append(out)

    def names(self, tensor: Tensor) -> tuple[str, ...]:
        """Of the parameters and buffers that made it; none if it depends on the record."""
        return () if self.comes(tensor) else self._names.get(_place(tensor), ())

    def words_at(self, tensor: Tensor) -> int:
        """In the memory that a tensor lies in: fewer than its own where it repeats them."""
        return tensor.untyped_storage().nbytes() // tensor.element_size()

    def module(self, tensors: Iterable[Tensor]) -> str:
        """The module whose parameter comes first among some tensors."""
        names = [n for t in tensors for n in self.names(t)]
        return names[0].rpartition(".")[0] if names else ""

    def take(self, tensors: Iterable[Tensor]) -> tuple[int, int]:
        """Use parameters: words not used before, trained and fixed."""
        taken = [0, 0]
        for tensor in tensors:
            names = self.names(tensor)
            for name in names:
                most = tensor.numel() if _place(tensor) in self._own else self._left[name]
                words = min(self._left[name], most)
                self._left[name] -= words
                taken[name not in self._trained] += words
        return taken[0], taken[1]

    def hold(self, weights: list[Tensor], words: int, others: Iterable[Tensor]) -> Held:
        """Use the `words` of a nest, which are in `weights`, and a bias or the like."""
        learnt = any(name in self._trained for t in weights for name in self.names(t))
        known = any(self.names(t) for t in weights)
        trained, fixed = self.take(weights)
        bias, constants = self.take(others)
        if learnt and trained >= words:
            return Held("trained", bias + trained - words, constants + fixed)
        if learnt:  # used before, or made of fewer parameters
            return Held("tied", bias + trained, constants + fixed)
        if fixed >= words or not known:
            return Held("fixed", bias, constants + max(fixed - words, 0))
        return Held("shared", bias, constants + fixed)

    def unused(self) -> int:
        """Trained words that no layer has used."""
        return sum(words for name, words in self._left.items() if name in self._trained)


def tensors(values: Any) -> list[Tensor]:
    """All tensors in nested arguments or results, in their order."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, PackedSequence):
            found.append(value.data)
        elif isinstance(value, (tuple, list)):
            found += tensors(value)
        elif isinstance(value, dict):
            found += tensors(value.values())
        elif isinstance(value, Tensor):
            found.append(value)
    return found


def _place(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place


def count(given: Iterable[Tensor]) -> int:
    """Words of some tensors, each once."""
    return sum(math.prod(t.shape) for t in {id(t): t for t in given}.values())
