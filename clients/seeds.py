"""Randomness by purpose: the same run, round, client and purpose give the same stream anywhere."""

import hashlib
import secrets

import torch


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed from a run's seed and a purpose: `derive(seed, "noise", round, client)`."""
    name = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A torch generator of its own for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *path))


def secret_generator() -> torch.Generator:
    """A torch generator whose seed nobody knows. Its stream is no cipher's: keep it unseen."""
    return torch.Generator().manual_seed(secrets.randbits(63))
