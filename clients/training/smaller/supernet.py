"""[supernet]: one net that many devices' nets are cut out of (Cai et al. 2020), trained once.

In each step the whole net is trained with its smallest and some others (the sandwich rule: Yu and
Huang 2019), and the smaller ones learn what the whole one says (in-place distillation). A record
has one gradient, of the sum of their losses, which is clipped once: whatever the number of nets, a
step spends what the step of one net does. Which nets are in a step no record decides.

A smaller net is an ordinary one, of fewer filters or layers, whose weights are the leading ones of
the whole net's: cutting it out is post-processing, and spends nothing.
"""

from collections.abc import Iterator
from itertools import product
from typing import Annotated

from pydantic import Field

from clients.models import Model, architecture_of
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
