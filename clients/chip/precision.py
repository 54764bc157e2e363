"""The widths of operands: all that a cost needs to know of an arithmetic."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["float", "fixed", "ternary", "binary", "stochastic"]


@dataclass(frozen=True)
class Precision:
    """How numbers are held.

    Attributes:
        weight_bits, activation_bits: of a word in memory.
        stream_length: bits of a stochastic stream, L; 0 for other kinds.
    """

    kind: Kind = "fixed"
    weight_bits: int = 8
    activation_bits: int = 8
    stream_length: int = 0

    def __post_init__(self) -> None:
        if min(self.weight_bits, self.activation_bits) < 1:
            raise ValueError("weight_bits and activation_bits must be at least 1")
        if (self.kind == "stochastic") != (self.stream_length > 0):
            raise ValueError("a stream_length belongs to kind = 'stochastic', and to no other")


FLOAT = Precision("float", 32, 32)
TERNARY = Precision("ternary", 2, 2)
BINARY = Precision("binary", 1, 1)


def fixed(bits: int) -> Precision:
    """Fixed point of `bits` for weights and activations."""
    return Precision("fixed", bits, bits)


def stochastic(length: int) -> Precision:
    """Streams of `length` bits; memory holds the numbers that they stand for."""
    bits = max(2, (length - 1).bit_length())
    return Precision("stochastic", bits, bits, length)
