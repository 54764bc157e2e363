"""Seeds by purpose, for what no protection depends on: first weights, partitions, who takes part.

They follow from a run's seed by `derive`. What a release depends on is drawn by `clients.draws`.
"""

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed from a run's seed and a purpose: `derive(seed, "partition")`."""
    name = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
