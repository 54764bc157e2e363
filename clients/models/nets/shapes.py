"""Records of a form as the image or the sequence that a net reads, and the norm between layers."""

import math
from collections.abc import Sequence

from torch import nn

from clients.layers import AddChannel
from clients.protocol import Form
from privacy.errors import ModelError

MOST_GROUPS = 8

Reading = tuple[list[nn.Module], tuple[int, ...]]


def told(sides: Sequence[int]) -> str:
    """`28x28`"""
    return "x".join(map(str, sides))


def image_of(form: Form, name: str) -> Reading:
    """What brings a record to [C, H, W], and that shape: two axes are those of one channel.

    Args:
        name: of the model, for the error.

    Raises:
        ModelError: it has one axis only.
    """
    if len(form.shape) == 3:
        return [], form.shape
    if len(form.shape) == 2:
        return [AddChannel()], (1, *form.shape)
    raise ModelError(
        f"[model] name = {name!r}: reads images, and a {form.kind} of {told(form.shape)} "
        f"numbers is none; use {_instead(form)}"
    )


def sequence_of(form: Form, name: str) -> Reading:
    """What brings a record to [C, L], and that shape.

    A sound is one channel; of an image, its rows are channels and its columns follow one another.

    Raises:
        ModelError: it has no order.
    """
    if len(form.shape) == 2:
        return [], form.shape
    if len(form.shape) == 3:
        channels, height, width = form.shape
        return [nn.Flatten(1, 2)], (channels * height, width)
    if form.kind in ("sound", "window"):
        return [AddChannel()], (1, *form.shape)
    raise ModelError(
        f"[model] name = {name!r}: reads sequences, and the {told(form.shape)} numbers of a "
        f"{form.kind} have no order; use {_instead(form)}"
    )


def trimmed(size: int, padding: int, trim: int) -> tuple[int, int]:
    """The side of a kernel and its padding, with `trim` less of both on each side, or all of it."""
    less = min(trim, padding)
    return size - 2 * less, padding - less


def require_trimmed(trim: int, most: int, name: str) -> None:
    """Refuse a trim that no kernel of a model has, whose widest padding is `most`.

    Raises:
        ModelError: it is beyond.
    """
    if trim > most:
        raise ModelError(
            f"[model] trim = {trim}: the widest padding of {name} is {most}; use {most} or less"
        )


def _instead(form: Form) -> str:
    return "tabular, linear or perceptron" if form.kind == "table" else "linear or perceptron"


def norm(channels: int, numbers: int, name: str) -> nn.Module:
    """Where the published nets have BatchNorm, which mixes records.

    Args:
        numbers: of each channel.

    Raises:
        ModelError: a group is of one number, whose norm is nothing, whatever it is.
    """
    groups = math.gcd(channels, MOST_GROUPS)
    if channels // groups * numbers == 1:
        raise ModelError(
            f"[model] name = {name!r}: its norm of {channels} channels is left with one number a "
            f"group; give larger records, or width = {2 * MOST_GROUPS}"
        )
    return nn.GroupNorm(groups, channels)
