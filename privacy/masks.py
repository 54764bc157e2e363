"""What a mask is: those who put it on and the server that takes off what is left must agree."""

import hashlib

import numpy as np

from privacy.boxes import KEY_BYTES, expand_key
from privacy.fixed_point import Words
from privacy.noise import WORDS, stream
from privacy.shares import part_bytes
from privacy.terms import Terms

PART_BYTES = part_bytes(KEY_BYTES)


def add_mask(words: Words, me: int, other: int, agreed: bytes, terms: Terms) -> None:
    """Put on, in place, the mask of a pair: added by the lesser client, subtracted by the other."""
    pair = min(me, other).to_bytes(8, "big") + max(me, other).to_bytes(8, "big")
    mask = expand(expand_key(agreed, b"privet mask" + terms.digest + pair), words)
    if me < other:
        np.add(words, mask, out=words)
    else:
        np.subtract(words, mask, out=words)


def own_mask(seed: bytes, terms: Terms, like: Words) -> Words:
    """The mask that a member alone puts on."""
    return expand(expand_key(seed, b"privet seed" + terms.digest), like)


def expand(key: bytes, like: Words) -> Words:
    """Words as many as in `like`: ChaCha20's keystream (privacy.noise), outside Python's lock."""
    keystream = np.empty(-(-like.nbytes // (4 * WORDS)) * WORDS, np.uint32)
    stream(np.frombuffer(key, np.uint32), 0, keystream)
    words: Words = keystream.view(like.dtype)[: len(like)]
    return words


def commitment(seed: bytes) -> bytes:
    """By which a seed put together from parts is known for the right one."""
    return hashlib.sha256(b"privet seed" + seed).digest()


def point_of(member: int) -> int:
    """Where a member's part lies on the polynomials: not at zero, where the secret is."""
    return member + 1
