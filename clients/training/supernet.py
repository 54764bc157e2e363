"""[supernet]: one net that many devices' nets are cut out of (Cai et al. 2020), trained once.

In each step the whole net is trained with its smallest and some others (the sandwich rule: Yu and
Huang 2019), and the smaller ones learn what the whole one says (in-place distillation). A record
has one gradient, of the sum of their losses, which is clipped once: whatever the number of nets, a
step spends what the step of one net does. Which nets are in a step no record decides.

A smaller net is an ordinary one, of fewer filters or layers, whose weights are the leading ones of
the whole net's: cutting it out is post-processing, and spends nothing.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Annotated

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from clients.models import Model, architecture_of
from clients.training.elastic import CUT, Elastic, Narrow
from clients.training.losses import Loss
from privacy.cipher import Key, Stream
from privacy.errors import ModelError
from privacy.settings import Range, Section

MOST_CHOICES = 16  # of widths, or of depths
MOST_NETS = 1 << 16


class Supernet(Section):
    """Which nets can be cut out of the model.

    Attributes:
        widths: of each hidden layer of a perceptron by itself, or of all layers of a net that has a
            `width`: shares of the model's own; none is no supernet.
        depths: hidden layers or blocks, beside the model's own number.
        sampled: nets that are trained in a step, beside the whole and the smallest.
        distil: the smaller learn what the whole net answers, rather than the labels.
    """

    widths: tuple[Annotated[float, Range(0.01, 1.0)], ...] = Field(
        default=(), strict=False, max_length=MOST_CHOICES
    )
    depths: tuple[Annotated[int, Range(1, 64)], ...] = Field(
        default=(), strict=False, max_length=MOST_CHOICES
    )
    sampled: Annotated[int, Range(0, 8)] = 1
    distil: bool = True

    @property
    def trains(self) -> bool:
        """Is there more than one net?"""
        return bool(self.widths or self.depths)


def nets_of(supernet: Supernet, model: Model) -> list[Model]:
    """All nets, the whole one first, then by their size in settings; each once.

    Raises:
        ModelError: the model has no widths or depths that could be fewer, or too many nets.
    """
    reads = architecture_of(model).reads or ()
    if "hidden" in reads and "width" not in reads and model.name == "perceptron":
        found = list(_perceptrons(supernet, model))
    else:
        found = list(_scaled(supernet, model, reads))
    found = list(dict.fromkeys([model, *sorted(found, key=_size, reverse=True)]))
    if len(found) > MOST_NETS:
        raise ModelError(f"[supernet]: {len(found):,} nets; leave {MOST_NETS:,} at most")
    return found


def _perceptrons(supernet: Supernet, model: Model) -> Iterator[Model]:
    shares = sorted({1.0, *supernet.widths}, reverse=True)
    depths = [d for d in sorted({len(model.hidden), *supernet.depths}) if d <= len(model.hidden)]
    if not model.hidden or len(depths) < len({len(model.hidden), *supernet.depths}):
        raise ModelError(
            f"[supernet] depths = {list(supernet.depths)}: [model] hidden has {len(model.hidden)} "
            "layers; give as many or fewer"
        )
    if len(shares) ** len(model.hidden) > MOST_NETS:
        raise ModelError(
            f"[supernet] widths: {len(shares)} of each of {len(model.hidden)} layers are more than "
            f"{MOST_NETS:,} nets; give fewer"
        )
    for depth in depths:
        for chosen in product(shares, repeat=depth):
            units = zip(model.hidden, chosen, strict=False)
            hidden = tuple(max(1, round(width * share)) for width, share in units)
            if hidden[-1] <= model.hidden[-1]:  # which is what the last layer has weights for
                yield model.model_copy(update={"hidden": hidden})


def _scaled(supernet: Supernet, model: Model, reads: tuple[str, ...]) -> Iterator[Model]:
    for key, asked in (("width", supernet.widths), ("depth", supernet.depths)):
        if asked and (key not in reads or not getattr(model, key)):
            why = "has none" if key not in reads else f"give it, such as {key} = 4"
            raise ModelError(
                f"[supernet] {key}s: are of [model] {key}, and name = {model.name!r}: {why}"
            )
    depths = {model.depth, *supernet.depths}
    if max(depths) > model.depth:
        raise ModelError(
            f"[supernet] depths = {list(supernet.depths)}: [model] depth = {model.depth}; give as "
            "many or fewer"
        )
    for share, depth in product({1.0, *supernet.widths}, depths):
        width = max(1, round(model.width * share)) if model.width else 0
        yield model.model_copy(update={"width": width, "depth": depth})


def _size(model: Model) -> tuple[int, ...]:
    return (model.depth * model.width, model.width, len(model.hidden), *model.hidden)


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
    """The weights of a smaller net: the leading ones of the whole net's, by its own names."""
    origin = dict(pairs_of(whole, smaller))
    found = {}
    for name, like in smaller.state_dict().items():
        layer, _, key = name.rpartition(".")
        array = weights[f"{origin[layer]}.{key}"]
        found[name] = array[tuple(slice(0, n) for n in like.shape)].copy()
    return found


# ---- training


class Elastics(nn.Sequential):
    """The whole net, of elastic layers under their own names; training, some smaller ones beside.

    Args:
        whole: whose weights are trained; itself it stays as it is.
        nets: all of them, the whole one first and the smallest last.
        build: makes a net; of a smaller one only its shape is used.
        sampled: nets in a step, beside the whole and the smallest.

    Raises:
        ModelError: it has a layer that cannot be cut.
    """

    def __init__(
        self, whole: nn.Module, nets: list[Model], build: Callable[[Model], nn.Module], sampled: int
    ) -> None:
        super().__init__()
        if type(whole) is not nn.Sequential:
            raise ModelError("[supernet]: the model is no chain of layers; use one of privet's own")
        self._elastic = {name: Elastic(whole.get_submodule(name)) for name in _owners(whole)}
        self._modules = dict(_swapped(whole, self._elastic).named_children())
        self._nets, self._build, self._sampled = nets, build, sampled
        self._made: dict[int, nn.Module] = {}  # a dict hides them: their layers are these
        self._chosen = [len(nets) - 1]

    def choose(self, step: Key) -> None:
        """The nets of a step: the whole, the smallest and others at random; by no record."""
        last = len(self._nets) - 1
        dealt = Stream(step.derive("nets")).permutation(max(0, last - 1))[: self._sampled]
        self._chosen = [*(int(i) + 1 for i in dealt), *([last] if last else [])]

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
