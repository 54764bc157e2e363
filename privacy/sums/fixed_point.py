"""Numbers that can be masked: integers modulo 2^32 or 2^64, of which a sum cannot wrap."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SecureSumFailed

Words = NDArray[Any]  # uint32 or uint64
TRAILER = 2  # numbers after an update: the client's weight, and how many numbers it cut


@dataclass(frozen=True)
class FixedPoint:
    """A grid for the numbers of `num_clients` updates.

    Attributes:
        bits: of the modulus, 32 or 64.
        scale: grid units in one.
        value_range: magnitude to which a number is cut.
        num_clients: whose sum must not wrap.
    """

    bits: int
    scale: float
    value_range: float
    num_clients: int

    @property
    def dtype(self) -> Any:
        """Unsigned words, which wrap at the modulus."""
        return np.dtype(np.uint32 if self.bits == 32 else np.uint64)

    @property
    def most(self) -> int:
        """The largest magnitude of one client's number: so many times the clients do not wrap."""
        return most_of(self.bits, self.num_clients)

    def encode(self, update: NDArray[Any], weight: int = 1) -> Words:
        """Words [D + 2] of a weighted update [D], with its weight and the count of numbers cut.

        Raises:
            SecureSumFailed: a number is not finite.
        """
        if not np.isfinite(update).all():
            raise SecureSumFailed("the update is not finite")
        values = np.asarray(update, np.float64)
        cut = int(np.count_nonzero(np.abs(values) > self.value_range))
        values = np.clip(values, -self.value_range, self.value_range) * (weight * self.scale)
        whole = np.clip(np.rint(values).astype(np.int64), -self.most, self.most)
        return np.append(whole, (weight, cut)).astype(self.dtype)

    def encode_noisy(self, update: NDArray[Any], clip: float, noise: NDArray[np.int64]) -> Words:
        """Words [D + 2] of an update [D] clipped to an L2 norm, with noise [D] in grid units.

        Numbers are rounded towards zero, so that the norm on the grid is at most `clip * scale`:
        the margin is more than float64 loses in the norm of 2^32 numbers.
        The weight is one, and the count of numbers cut zero: neither would have noise.

        Raises:
            SecureSumFailed: a number is not finite.
        """
        if not np.isfinite(update).all():
            raise SecureSumFailed("the update is not finite")
        values = np.asarray(update, np.float64)
        norm = float(np.linalg.norm(values))
        factor = self.scale * min(1.0, clip * (1 - 2.0**-20) / norm) if norm else 0.0
        whole = np.trunc(values * factor).astype(np.int64) + noise
        return np.append(whole, (1, 0)).astype(self.dtype)

    def decode(self, total: Words) -> tuple[NDArray[np.float64], int, int]:
        """Of a sum [D + 2]: the weighted sum of updates [D], all weights, all numbers cut."""
        signed = total.view(np.int32 if self.bits == 32 else np.int64).astype(np.float64)
        weight, cut = (int(number) for number in total[-TRAILER:])
        return signed[:-TRAILER] / self.scale, weight, cut


def most_of(bits: int, num_clients: int) -> int:
    """The largest magnitude of which `num_clients` fit into `bits` bits with a sign.

    In 64 bits it is what a float64 tells exactly, at most.
    """
    return int(min(((1 << (bits - 1)) - 1) // num_clients, 1 << 52))


def weighted_scale(bits: int, num_clients: int, value_range: float, most_examples: int) -> float:
    """Grid units in one, for numbers up to `value_range` times weights up to `most_examples`.

    Raises:
        SecureSumFailed: so coarse that the smallest client's update would be lost.
    """
    scale = most_of(bits, num_clients) / (value_range * most_examples)
    if scale * value_range < 1:
        raise SecureSumFailed(
            f"{bits} bits are too few for {num_clients} clients of up to {most_examples} records"
        )
    return scale
