"""A smaller net's weights out of the whole net's; and the whole, trained with smaller ones."""

import copy
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.training.losses import Loss
from clients.training.smaller.elastic import CUT, Elastic, Narrow, places_of
from clients.training.smaller.supernet import Supernet, Variant, opened
from privacy.cipher import Key, Stream
from privacy.errors import ModelError

# ---- one net's weights out of another's


def pairs_of(whole: nn.Module, smaller: nn.Module) -> list[tuple[str, str]]:
    """Names of layers with weights: in the smaller net, and in the whole one, which it is cut from.

    The first stand for the first, and the last, which answers, for the last.

    Raises:
        ModelError: a layer has weights that cannot be cut.
    """
    ours = _owners(smaller)
    return list(zip(ours, _origins(_owners(whole), len(ours)), strict=True))


def _origins(names: list[str], num: int) -> list[str]:
    return [*names[: num - 1], names[-1]]


def _owners(net: nn.Module) -> list[str]:
    found = []
    for name, layer in net.named_modules():
        if next(layer.parameters(recurse=False), None) is None:
            continue
        if type(layer) not in CUT:
            raise ModelError(f"[supernet]: {type(layer).__name__} {name} cannot be cut")
        found.append(name)
    return found


def cut(weights: Mapping[str, NDArray], whole: nn.Module, smaller: nn.Module) -> dict[str, NDArray]:
    """The weights of a smaller net: a part of each layer's of the whole net, by its own names."""
    origin = dict(pairs_of(whole, smaller))
    found = {}
    for name, like in smaller.state_dict().items():
        layer, _, key = name.rpartition(".")
        array = weights[f"{origin[layer]}.{key}"]
        found[name] = array[places_of(array.shape, like.shape)].copy()
    return found


# ---- training


class Elastics(nn.Sequential):
    """The whole net, of elastic layers under their own names; training, some smaller ones beside.

    Args:
        whole: whose weights are trained; itself it stays as it is.
        nets: all of them, the whole one first and the smallest last.
        build: makes a net; of a smaller one only its shape is used.
        supernet: which of them a round and a step have.

    Raises:
        ModelError: it has a layer that cannot be cut.
    """

    def __init__(
        self,
        whole: nn.Module,
        nets: list[Variant],
        build: Callable[[Variant], nn.Module],
        supernet: Supernet,
    ) -> None:
        super().__init__()
        if type(whole) is not nn.Sequential:
            raise ModelError("[supernet]: the model is no chain of layers; use one of privet's own")
        self._elastic = {name: Elastic(whole.get_submodule(name)) for name in _owners(whole)}
        self._modules = dict(_swapped(whole, self._elastic).named_children())
        self._nets, self._build, self._supernet = nets, build, supernet
        self._made: dict[int, nn.Module] = {}  # a dict hides them: their layers are these
        self._opened = list(range(len(nets)))
        self._chosen = self._opened[1:][-1:]

    def begin_round(self, number: int) -> None:
        """The nets of a round, which is counted from 1."""
        self._opened = opened(self._supernet, self._nets, number)

    def choose(self, step: Key) -> None:
        """The nets of a step: the whole, the smallest and others at random; by no record."""
        _, *others = self._opened
        *between, last = others or [0]
        dealt = Stream(step.derive("nets")).permutation(len(between))[: self._supernet.sampled]
        self._chosen = [*(between[i] for i in dealt), *([last] if last else [])]

    def forward(self, x: Tensor) -> Tensor:
        """Of the whole net [B, K]; training, of a step's nets [B, nets, K], the whole first."""
        answers = super().forward(x)
        if not self.training:
            return answers
        return torch.stack([answers, *(self._net(i)(x) for i in self._chosen)], 1)

    def _net(self, index: int) -> nn.Module:
        if index not in self._made:
            made = self._build(self._nets[index])
            ours = _owners(made)
            names = list(self._elastic)
            places = {
                name: Narrow(self._elastic[origin], made.get_submodule(name))
                for name, origin in zip(ours, _origins(names, len(ours)), strict=True)
            }
            self._made[index] = _swapped(made, places)
        return self._made[index]


def _swapped(module: nn.Module, places: Mapping[str, nn.Module], name: str = "") -> nn.Module:
    """A copy with others in the place of some layers, and the same layers else."""
    if name in places:
        return places[name]
    same = copy.copy(module)
    children: dict[str, nn.Module | None] = {
        key: _swapped(child, places, f"{name}.{key}" if name else key)
        for key, child in module.named_children()
    }
    same._modules = children
    return same


def loss_of(supernet: Supernet) -> Loss:
    """The mean loss of a step's nets, from their answers [B, nets, K] and labels [B]: [B]."""

    def mean(answers: Tensor, y: Tensor) -> Tensor:
        told = answers.log_softmax(-1)
        right = F.one_hot(y, answers.shape[-1])[:, None].to(told.dtype)
        said = answers[:, :1].detach().softmax(-1) if supernet.distil else right
        wanted = torch.cat([right, said.expand_as(told[:, 1:])], 1)
        return -(wanted * told).sum(-1).mean(-1)

    return mean
