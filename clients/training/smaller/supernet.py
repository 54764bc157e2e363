"""[supernet]: one net that many devices' nets are cut out of (Cai et al. 2020), trained once.

In each step the whole net is trained with its smallest and some others (the sandwich rule: Yu and
Huang 2019), and the smaller ones learn what the whole one says (in-place distillation). A record
has one gradient, of the sum of their losses, which is clipped once: whatever the number of nets, a
step spends what the step of one net does. Which nets are in a step no record decides.

A smaller net is an ordinary one, of fewer filters or layers, of smaller kernels or words of fewer
bits, whose weights are a part of the whole net's: cutting it out is post-processing, and free.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Annotated, NamedTuple

from pydantic import Field

from clients.arithmetic.settings import Arithmetic
from clients.models import Model, architecture_of
from privacy.errors import ModelError
from privacy.settings import Range, Section

MOST_CHOICES = 16  # of widths, or of depths
MOST_NETS = 1 << 16
FLOAT = Arithmetic()


class Variant(NamedTuple):
    """One of the nets.

    Attributes:
        arithmetic: floats, or words of fewer bits.
    """

    model: Model
    arithmetic: Arithmetic = FLOAT


class Supernet(Section):
    """Which nets can be cut out of the model.

    Attributes:
        widths: of each hidden layer of a perceptron by itself, or of all layers of a net that has a
            `width`: shares of the model's own; none is no supernet.
        depths: hidden layers or blocks, beside the model's own number.
        trims: rows and columns that kernels lose on each side of their padding: `[model] trim`.
        bits: of words to which weights are rounded, with activations in 8 bits; beside floats.
        sampled: nets that are trained in a step, beside the whole and the smallest.
        distil: the smaller learn what the whole net answers, rather than the labels.
        progressive: rounds until each kind of choice is opened, in the order of `KINDS`; before
            the first the whole net is trained alone. 0 opens all at once.
    """

    widths: tuple[Annotated[float, Range(0.01, 1.0)], ...] = Field(
        default=(), strict=False, max_length=MOST_CHOICES
    )
    depths: tuple[Annotated[int, Range(1, 64)], ...] = Field(
        default=(), strict=False, max_length=MOST_CHOICES
    )
    trims: tuple[Annotated[int, Range(1, 64)], ...] = Field(
        default=(), strict=False, max_length=MOST_CHOICES
    )
    bits: tuple[Annotated[int, Range(2, 8)], ...] = Field(
        default=(), strict=False, max_length=MOST_CHOICES
    )
    sampled: Annotated[int, Range(0, 8)] = 1
    distil: bool = True
    progressive: Annotated[int, Range(0, 1 << 16)] = 0

    @property
    def trains(self) -> bool:
        """Is there more than one net?"""
        return bool(self.kinds)

    @property
    def kinds(self) -> list[str]:
        """What there is a choice of, in the order in which it is opened."""
        return [kind for kind in KINDS if getattr(self, kind)]


# What tells a net from the whole one, by kind, in the order of progressive shrinking (Cai et al.
# 2020, section 3.3); bits last.
KINDS: dict[str, Callable[[Variant], object]] = {
    "trims": lambda variant: variant.model.trim,
    "depths": lambda variant: (variant.model.depth, len(variant.model.hidden)),
    "widths": lambda variant: (variant.model.width, *variant.model.hidden),
    "bits": lambda variant: variant.arithmetic,
}


def opened(supernet: Supernet, nets: list[Variant], round_: int) -> list[int]:
    """Places of the nets that are trained in a round, counted from 1."""
    stage = (round_ - 1) // supernet.progressive if supernet.progressive else len(KINDS)
    closed = [KINDS[kind] for kind in supernet.kinds[stage:]]
    return [
        i for i, net in enumerate(nets) if all(_as_whole(told, net, nets[0]) for told in closed)
    ]


def nets_of(supernet: Supernet, model: Model) -> list[Variant]:
    """All nets, the whole one first, then by their size in settings; each once.

    Raises:
        ModelError: the model has no such choice, or there are too many nets.
    """
    found = list(dict.fromkeys([model, *sorted(_models(supernet, model), key=_size, reverse=True)]))
    formats = [FLOAT, *(_words(bits) for bits in sorted({*supernet.bits}, reverse=True))]
    if len(found) * len(formats) > MOST_NETS:
        raise ModelError(
            f"[supernet]: {len(found) * len(formats):,} nets; leave {MOST_NETS:,} at most"
        )
    return [Variant(one, arithmetic) for one in found for arithmetic in formats]


def _words(bits: int) -> Arithmetic:
    return Arithmetic(name="fixed", bits=bits, gradient_bits=32)


def _models(supernet: Supernet, model: Model) -> Iterator[Model]:
    reads = architecture_of(model).reads or ()
    if supernet.trims and "trim" not in reads:
        raise ModelError(f"[supernet] trims: are of padded kernels, and {model.name} has none")
    if min((model.trim, *supernet.trims)) < model.trim:
        raise ModelError(
            f"[supernet] trims = {list(supernet.trims)}: [model] trim = {model.trim} is of the "
            "whole net; give more"
        )
    dense = "hidden" in reads and "width" not in reads and model.name == "perceptron"
    shaped = _perceptrons(supernet, model) if dense else _scaled(supernet, model, reads)
    for one, trim in product(shaped, sorted({model.trim, *supernet.trims})):
        yield one.model_copy(update={"trim": trim})


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


def _as_whole(told: Callable[[Variant], object], net: Variant, whole: Variant) -> bool:
    """Is a net like the whole one in what is told? Of fewer layers the widths are compared."""
    mine, of_whole = told(net), told(whole)
    if isinstance(mine, tuple) and isinstance(of_whole, tuple):
        return mine == of_whole[: len(mine)]
    return mine == of_whole


def _size(model: Model) -> tuple[int, ...]:
    return (model.depth * model.width, model.width, len(model.hidden), *model.hidden, -model.trim)
