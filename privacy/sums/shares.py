"""Shamir's secret sharing (1979): any `threshold` parts give the secret, fewer nothing of it.

Over the integers modulo 2^31 - 1: a secret is cut into limbs of 30 bits, each the constant of a
random polynomial; part x is the value of all polynomials at x.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRIME = (1 << 31) - 1
LIMB_BITS = 30

Limbs = NDArray[np.uint64]


def split(secret: bytes, threshold: int, points: Sequence[int]) -> list[bytes]:
    """A part of `secret` for each of `points`, which differ and are none of them zero."""
    if not 1 <= threshold <= len(points) or len({p % PRIME for p in points} - {0}) != len(points):
        raise ValueError("as many different points as the threshold, none of them zero")
    limbs = _limbs(secret)
    coefficients = _uniform((threshold, len(limbs)))
    coefficients[0] = limbs
    x = np.array(points, np.uint64)[:, None]
    values = np.zeros((len(points), len(limbs)), np.uint64)
    for row in coefficients[::-1]:
        values = (values * x + row) % np.uint64(PRIME)
    table, step = values.astype("<u4").tobytes(), 4 * len(limbs)
    return [table[at : at + step] for at in range(0, len(table), step)]


def combine(parts: dict[int, bytes], size: int) -> bytes:
    """The secret of `size` bytes, from exactly as many parts as the threshold, by their points.

    Parts that do not belong together give some other secret, or ValueError.
    """
    points = np.array(list(parts), np.uint64)
    rows = np.stack([np.frombuffer(part, "<u4") for part in parts.values()]).astype(np.uint64)
    if rows.shape[1] != -(-8 * size // LIMB_BITS) or (rows >= PRIME).any():
        raise ValueError("not a part of such a secret")
    prime = np.uint64(PRIME)
    above = np.ones(len(points), np.uint64)
    below = np.ones(len(points), np.uint64)
    for i, point in enumerate(points):  # Lagrange at zero: the product of x_j / (x_j - x_i)
        others = np.arange(len(points)) != i
        above[others] = above[others] * point % prime
        below[others] = below[others] * ((point + prime - points[others]) % prime) % prime
    inverse = np.array([pow(int(b), -1, PRIME) for b in below], np.uint64)
    weights = above * inverse % prime
    limbs = (rows * weights[:, None] % prime).sum(0) % prime
    value = sum(int(limb) << (LIMB_BITS * i) for i, limb in enumerate(limbs))
    if value >> (8 * size):
        raise ValueError("these parts do not belong together")
    return value.to_bytes(size, "little")


def part_bytes(size: int) -> int:
    """Of a part of a secret of `size` bytes."""
    return 4 * -(-8 * size // LIMB_BITS)


def _limbs(secret: bytes) -> Limbs:
    value, mask = int.from_bytes(secret, "little"), (1 << LIMB_BITS) - 1
    num = -(-8 * len(secret) // LIMB_BITS)
    return np.array([value >> (LIMB_BITS * i) & mask for i in range(num)], np.uint64)


def _uniform(shape: tuple[int, int]) -> Limbs:
    """Residues modulo the prime, from the operating system, each as likely as any other."""
    count = shape[0] * shape[1]
    drawn: NDArray[Any] = np.empty(0, np.uint32)
    while len(drawn) < count:
        more = np.frombuffer(secrets.token_bytes(4 * count), np.uint32) & np.uint32(PRIME)
        drawn = np.append(drawn, more[more != PRIME])
    return drawn[:count].astype(np.uint64).reshape(shape)
