"""What a mask is: those who put it on and the server that takes off what is left must agree."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.cipher import LANES, WORDS, keystream, stream
from privacy.compiling import compiled
from privacy.sums.boxes import KEY_BYTES, TAG_BYTES, expand_key
from privacy.sums.fixed_point import Words
from privacy.sums.shares import part_bytes
from privacy.sums.terms import Terms

PART_BYTES = part_bytes(KEY_BYTES)
PROOF_BYTES = 16  # to find another part for it is 2^128 work
BOX_BYTES = 2 * PART_BYTES + TAG_BYTES
PUBLIC_BYTES = 2 * KEY_BYTES  # of a member: the channel's key, then that of masks


@dataclass(frozen=True)
class Dealt:
    """What a member gives out of its secrets.

    Attributes:
        boxes: a sealed pair of parts for each neighbour.
        proofs: of the parts, by holder, itself among them: the seed's, then the mask key's.
        commitment: to its seed.
    """

    boxes: dict[int, bytes]
    proofs: dict[int, bytes]
    commitment: bytes


def add_masks(words: Words, me: int, agreed: Mapping[int, bytes], terms: Terms) -> None:
    """Put on, in place, the masks of pairs: added by the lesser client, subtracted by the other.

    Args:
        agreed: by the other client of a pair, what the two share.
    """
    keys = b"".join(
        expand_key(
            secret,
            b"privet mask"
            + terms.digest
            + min(me, other).to_bytes(8, "big")
            + max(me, other).to_bytes(8, "big"),
        )
        for other, secret in agreed.items()
    )
    added = np.array([me < other for other in agreed], np.bool_)
    _add_streams(words, np.frombuffer(keys, np.uint32).reshape(-1, 8), added)


@compiled  # type: ignore[untyped-decorator]
def _add_streams(words: Words, keys: NDArray[np.uint32], added: NDArray[np.bool_]) -> None:
    """Add or subtract one keystream a key, piece by piece in the cache, outside Python's lock."""
    buffer = np.empty(WORDS, np.uint32)
    mask = buffer.view(words.dtype)
    for start in range(0, len(words), len(mask)):
        piece = words[start : start + len(mask)]
        for i in range(len(keys)):
            keystream(keys[i], start // len(mask) * LANES, buffer)
            if added[i]:
                piece += mask[: len(piece)]
            else:
                piece -= mask[: len(piece)]


def own_mask(seed: bytes, terms: Terms, like: Words) -> Words:
    """The mask that a member alone puts on."""
    return expand(expand_key(seed, b"privet seed" + terms.digest), like)


def expand(key: bytes, like: Words) -> Words:
    """Words as many as in `like`: ChaCha20's keystream (privacy.cipher), outside Python's lock."""
    keystream = np.empty(-(-like.nbytes // (4 * WORDS)) * WORDS, np.uint32)
    stream(np.frombuffer(key, np.uint32), 0, keystream)
    words: Words = keystream.view(like.dtype)[: len(like)]
    return words


def commitment(seed: bytes) -> bytes:
    """By which a seed put together from parts is known for the right one."""
    return hashlib.sha256(b"privet seed" + seed).digest()


def proof(terms: Terms, dealer: int, holder: int, part: bytes) -> bytes:
    """By which a part that a holder tells is known for the one that it was dealt.

    A part is uniform for who has fewer than are needed, so its hash tells nothing of it.
    """
    about = b"privet part" + terms.digest + dealer.to_bytes(8, "big") + holder.to_bytes(8, "big")
    return hashlib.sha256(about + part).digest()[:PROOF_BYTES]


def point_of(member: int) -> int:
    """Where a member's part lies on the polynomials: not at zero, where the secret is."""
    return member + 1
