"""A net of signs as the boolean scheme sees it: plain integers.

Shapes: B records, I inputs, H hidden units, R classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.encrypted.net import Array, pool_images
from privacy.errors import ModelError

Integers = NDArray[np.int64]

STEPS = 4  # of a logit between two whole numbers: biases are rounded to them


@dataclass(frozen=True, eq=False)
class BinaryNet:
    """logits = V sign(W x + b) + c, x = sign(pixel - threshold), up to a positive factor.

    Attributes:
        w: -1 or +1, [H, I]; b: [H].
        v: -1 or +1, [R, H]; c: [R].
        shape, pool, threshold: images (H, W), averaged in squares, then compared.
    """

    w: Integers
    b: Array
    v: Integers
    c: Array
    shape: tuple[int, int]
    pool: int
    threshold: float

    def __post_init__(self) -> None:
        """Raises: ModelError: a weight is neither -1 nor +1, or shapes do not match."""
        if not (np.abs(self.w) == 1).all() or not (np.abs(self.v) == 1).all():
            raise ModelError("a binarized net's weights are -1 or +1")
        if self.v.shape[1] != len(self.w) or len(self.b) != len(self.w):
            raise ModelError("the layers of the binarized net do not fit each other")

    @property
    def offsets(self) -> Integers:
        """t [H]: a hidden bit is [W u + t >= 0]."""
        return np.floor((self.b - self.w.sum(1)) / 2).astype(np.int64)

    @property
    def constants(self) -> Integers:
        """What is added to `STEPS` V h, h the hidden signs, [R]."""
        return np.rint(STEPS * self.c).astype(np.int64)

    @property
    def largest_logit(self) -> int:
        """That any hidden signs lead to."""
        return STEPS * len(self.w) + int(np.abs(self.constants).max())

    @property
    def reach_bits(self) -> int:
        """The width, sign included, that holds W u + t for any bits u."""
        least = self.offsets + np.minimum(self.w, 0).sum(1)
        most = self.offsets + np.maximum(self.w, 0).sum(1)
        return 1 + max(int(most.max()).bit_length(), int(-1 - least.min()).bit_length())

    def bits(self, images: Array) -> Integers:
        """Images [B, H, W] in [0, 1] -> bits [B, I]."""
        return binarize(images, self.pool, self.threshold)

    def logits(self, bits: Integers) -> Integers:
        """The integers that the circuit computes, in the clear: [B, I] -> [B, R]."""
        hidden = np.where(bits @ self.w.T + self.offsets >= 0, 1, -1)
        return STEPS * hidden @ self.v.T + self.constants

    def even_rows(self) -> tuple[Integers, Integers]:
        """Weights [H, I + 1] and offsets [H] that bring W u + t to the even number below.

        The last input is the parity of the others' sum, and so of every row of W u: it is taken off
        where t is even, and where t is odd it is added to W u + t - 1.
        """
        odd = self.offsets % 2
        return np.column_stack([self.w, 2 * odd - 1]), self.offsets - odd


def with_parity(bits: Integers) -> Integers:
    """Bits [B, I] -> [B, I + 1]: the last is 1 if an odd number of the others are."""
    return np.column_stack([bits, bits.sum(1) % 2])


def binarize(images: Array, pool: int, threshold: float) -> Integers:
    """Has a pixel (a mean of `pool` x `pool`) reached the threshold? [B, I]"""
    pooled = pool_images(images.astype(np.float32), pool)
    return (pooled.reshape(len(images), -1) >= np.float32(threshold)).astype(np.int64)


def wrapped_logits(net: BinaryNet, bits: Integers, sum_bits: int) -> Integers:
    """As `BinaryNet.logits`, with sums that wrap round as the circuit's do: [B, I] -> [B, R]."""
    half = 1 << sum_bits - 1
    sums = (bits @ net.w.T + net.offsets + half) % (2 * half) - half
    return STEPS * np.where(sums >= 0, 1, -1) @ net.v.T + net.constants
