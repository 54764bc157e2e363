"""What a mask is: those who put it on and the server that takes off what is left must agree."""

import hashlib
from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from privacy.boxes import KEY_BYTES, expand_key
from privacy.fixed_point import Words
from privacy.shares import part_bytes
from privacy.terms import Terms

PART_BYTES = part_bytes(KEY_BYTES)


def add_mask(words: Words, me: int, other: int, agreed: bytes, terms: Terms) -> None:
    """Put on, in place, the mask of a pair: added by the lesser client, subtracted by the other."""
    pair = min(me, other).to_bytes(8, "big") + max(me, other).to_bytes(8, "big")
    mask = expand(expand_key(agreed, b"privet mask" + terms.digest + pair), terms, words)
    if me < other:
        np.add(words, mask, out=words)
    else:
        np.subtract(words, mask, out=words)


def expand(key: bytes, terms: Terms, like: Words) -> Words:
    """Words as many as in `like`: AES-256's keystream in counter mode."""
    stream = Cipher(AES(key), CTR(terms.digest[:16])).encryptor().update(_zeros(like.nbytes))
    return np.frombuffer(stream, like.dtype)


@lru_cache(maxsize=4)
def _zeros(size_bytes: int) -> bytes:
    return bytes(size_bytes)


def commitment(seed: bytes) -> bytes:
    """By which a seed put together from parts is known for the right one."""
    return hashlib.sha256(b"privet seed" + seed).digest()


def point_of(member: int) -> int:
    """Where a member's part lies on the polynomials: not at zero, where the secret is."""
    return member + 1
