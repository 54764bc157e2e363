"""What passes between the rooms of a device: the form of a record, layers, and number formats."""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # settings stand on this file, and need no torch
    from torch import nn


def later(name: str) -> Callable[..., Any]:
    """The function or class `module:name`, whose module is loaded when it is first called."""
    return lambda *given: resolve_name(name)(*given)


class Form(NamedTuple):
    """What a model reads and gives, for one record.

    Attributes:
        shape: of its input: a picture's [H, W] or [C, H, W], a window's [C, L], a sound's [L], a
            table's [F].
        outputs: numbers that the model gives: one a class, label or target.
        kind: of what the record is.
        columns: of a table: the width that each column has in the input, in order; a number has
            one, a category one for each of its values.
        rate_hz: samples a second of a window or sound, where that is known.
        itself: does a model give back what it reads? Else `outputs` may be as many by chance.
    """

    shape: tuple[int, ...]
    outputs: int
    kind: Literal["picture", "window", "sound", "table"] = "picture"
    columns: tuple[int, ...] = ()
    rate_hz: float = 0.0
    itself: bool = False


class Formats(NamedTuple):
    """Numbers as the device holds them.

    Attributes:
        kind: float, fixed, ternary, binary, stochastic, spiking, p-bits or invertible.
        weight_bits, activation_bits, gradient_bits: of one word.
        stream_length: clock cycles of one product; 1 where numbers are not streams.
    """

    kind: str
    weight_bits: int
    activation_bits: int
    gradient_bits: int
    stream_length: int = 1


Size = int | tuple[int, int]  # of a square, or height and width


class Layers(Protocol):
    """The parts of which a model is built, in one arithmetic.

    Each method gives modules to be called one after another. Whatever rounds an activation stands
    before the layer that reads it, and whatever rounds a gradient after the layer it reaches, so
    that what `privacy.dp.bookkeeping` taps is what the device has in its words.
    """

    def entrance(self) -> "list[nn.Module]":
        """What comes between a flat input in [0, 1] and the first layer."""

    def linear(self, inputs: int, outputs: int) -> "list[nn.Module]":
        """A dense layer."""

    def conv2d(
        self,
        inputs: int,
        outputs: int,
        size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        groups: int = 1,
    ) -> "list[nn.Module]":
        """A convolution of groups of channels; raises ModelError where there is none."""

    def conv1d(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0
    ) -> "list[nn.Module]":
        """A convolution over time; raises ModelError where the arithmetic has none."""

    def float_only(self, layer: "nn.Module", name: str) -> "list[nn.Module]":
        """A layer of 32-bit floats alone; raises ModelError, with its name, in other numbers."""

    def activation(self, chosen: "Callable[[], nn.Module]") -> "list[nn.Module]":
        """The activation chosen by the model, or the one that the arithmetic dictates."""

    def chain(self, layers: "list[nn.Module]") -> "nn.Module":
        """The whole model."""
