"""The auditor in the operating system's place: what a device draws its secrets from.

Two rounds that are given the same bytes have the same secrets, whatever else differs between them;
and of every byte that is given, it can be seen whether the noise depends on it.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


class Entropy:
    """Bytes in place of the operating system's: a function of `seed`, but for what is flipped.

    Attributes:
        num_bytes: asked for until now.
    """

    def __init__(self, seed: int, flipped: int | None = None) -> None:
        self._seed, self._flipped = seed, flipped
        self.num_bytes = 0

    def read(self, size: int) -> bytes:
        """The next bytes, as `os.urandom` gives them."""
        given = bytearray()
        for position in range(self.num_bytes, self.num_bytes + size):
            block = hashlib.sha256(f"{self._seed}/{position // 32}".encode()).digest()
            given.append(block[position % 32] ^ (0xFF if position == self._flipped else 0))
        self.num_bytes += size
        return bytes(given)


@contextmanager
def given(entropy: Entropy) -> Iterator[Entropy]:
    """All that this process asks the operating system for comes from `entropy`.

    `secrets`, and numpy's generators without a seed, ask through the module `random`.
    """
    kept = os.urandom, random._urandom  # type: ignore[attr-defined]
    os.urandom = random._urandom = entropy.read  # type: ignore[attr-defined]
    try:
        yield entropy
    finally:
        os.urandom, random._urandom = kept  # type: ignore[attr-defined]
