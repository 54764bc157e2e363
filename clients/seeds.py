"""Randomness by purpose.

What no protection depends on (first weights, partitions, who takes part) follows from a run's seed
by `derive`. What a release depends on follows from one key a round: a secret one, or one that is
made of the seed and of all that shapes the release, so that the same experiment gives the same
weights, and two others have no noise, batch or dice in common.
"""

import hashlib
from collections.abc import Iterable

from torch import Tensor

from privacy.cipher import Key


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed from a run's seed and a purpose: `derive(seed, "partition")`."""
    name = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def digest(tensors: Iterable[Tensor]) -> bytes:
    """SHA-256 of the tensors' numbers, in their order."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().contiguous().numpy())
    return total.digest()


def round_key(seed: int, *shapes: str | int | bytes) -> Key:
    """The key of one device's round, from the seed and all that shapes what it releases."""
    return Key.of("privet round", seed, *shapes)
