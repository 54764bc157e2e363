"""SEAL's bytes, read and written here: no native parser but zstd's sees what a client sends.

A ciphertext (SEAL 4, ciphertext.cpp) is a head, an array of words in an envelope of its own, and,
if the array is half as long as it should be, the seed of the other half. Key-switching keys
(kswitchkeys.cpp) are a table of lists by Galois element, each a list of such ciphertexts, one for
each prime of the data.

Shapes: N the ring's degree, L primes of the data, K = L + 1 with that of keys.
"""

import struct
from dataclasses import dataclass

import numpy as np
import zstandard

from privacy.encrypted.ring.modular import Words
from privacy.encrypted.ring.seeds import SEED_BYTES, expand
from privacy.errors import CiphertextError
from privacy.sealed import ENVELOPE, MAGIC, MAJOR, PLAIN, ZSTD, inflate, plain_envelope

# parms_id, NTT form, polynomials, degree, primes, scale, correction factor
HEAD = struct.Struct("<32sBQQQdQ")
COUNT = struct.Struct("<Q")
BLAKE2XB = 1  # of SEAL's generators, that which is its own choice
SEEDED_BYTES = ENVELOPE.size + 1 + SEED_BYTES


@dataclass(frozen=True, eq=False)
class Level:
    """What ciphertexts of one level have in common.

    Attributes:
        parms_id: SEAL's digest of its parameters, 32 bytes.
        primes: [L]
    """

    parms_id: bytes
    primes: Words
    degree: int

    @property
    def num_words(self) -> int:
        """Of one polynomial."""
        return len(self.primes) * self.degree


def read_ciphertext(content: bytes, level: Level, scale: float, most_bytes: int) -> Words:
    """The words [2, L, N] of a ciphertext of two polynomials.

    Raises:
        CiphertextError: the bytes are no such ciphertext of this level and scale.
    """
    body = memoryview(inflate(content, most_bytes))[ENVELOPE.size :]
    return _read(body, level, scale)


def read_keys(content: bytes, level: Level, wanted: list[int], most_bytes: int) -> dict[int, Words]:
    """Key-switching keys by their place in SEAL's table, each [L, 2, K, N].

    Args:
        level: of keys, with all primes.
        wanted: the places that are needed; others are passed over.

    Raises:
        CiphertextError: the bytes are no such keys, or lack one.
    """
    body = memoryview(inflate(content, most_bytes))[ENVELOPE.size :]
    if bytes(body[:32]) != level.parms_id:
        raise CiphertextError("not evaluation keys under these parameters")
    place, digits = 32 + COUNT.size, len(level.primes) - 1
    found: dict[int, Words] = {}
    try:
        (num_lists,) = COUNT.unpack_from(body, 32)
        if num_lists > level.degree:
            raise CiphertextError(f"evaluation keys for {num_lists} elements of {level.degree}")
        needed = set(wanted)
        for number in range(num_lists):
            (num,) = COUNT.unpack_from(body, place)
            place += COUNT.size
            if num == 0:
                continue
            if num != digits:
                raise CiphertextError(f"an evaluation key of {num} parts, where {digits} belong")
            parts = []
            for _ in range(digits):
                length = _envelope(body[place:])
                if number in needed:
                    parts.append(_read(body[place + ENVELOPE.size : place + length], level, 1.0))
                place += length
            if parts:
                found[number] = np.stack(parts)
    except struct.error:
        raise CiphertextError("evaluation keys that are cut short") from None
    if place != len(body):
        raise CiphertextError("evaluation keys with more behind them")
    if any(number not in found for number in wanted):
        raise CiphertextError("the Galois keys lack a rotation of this model")
    return found


def write_ciphertext(words: Words, level: Level, scale: float, minor: int) -> bytes:
    """Words [2, L, N] as SEAL would write them, compressed."""
    head = HEAD.pack(level.parms_id, 1, 2, level.degree, len(level.primes), scale, 1)
    array = plain_envelope(COUNT.pack(words.size) + words.astype("<u8").tobytes(), minor)
    body = zstandard.ZstdCompressor(level=1).compress(head + array)
    length = ENVELOPE.size + len(body)
    return ENVELOPE.pack(MAGIC, ENVELOPE.size, MAJOR, minor, ZSTD, 0, length) + body


def read_plaintext(content: bytes, level: Level) -> Words:
    """The words [L, N] of a plaintext that SEAL encoded here."""
    body = inflate(content, 2 * 8 * level.num_words + 1024)
    words = np.frombuffer(body, "<u8", level.num_words, len(body) - 8 * level.num_words)
    return words.astype(np.uint64).reshape(len(level.primes), level.degree)


def _envelope(content: memoryview) -> int:
    """The length of an uncompressed object within another."""
    magic, header, major, _, compression, zeros, length = ENVELOPE.unpack_from(content)
    if (magic, header, major, compression, zeros) != (MAGIC, ENVELOPE.size, MAJOR, PLAIN, 0):
        raise CiphertextError("a part that is not an object of SEAL 4")
    if not ENVELOPE.size <= length <= len(content):
        raise CiphertextError(f"a part of {length} bytes in {len(content)}")
    return int(length)


def _read(body: memoryview, level: Level, scale: float) -> Words:
    """A ciphertext without its envelope."""
    head = (level.parms_id, 1, 2, level.degree, len(level.primes), scale, 1)
    if len(body) < HEAD.size + ENVELOPE.size + COUNT.size or HEAD.unpack_from(body) != head:
        raise CiphertextError("the ciphertext is not at this model's first level and scale")
    array = body[HEAD.size :]
    length, (num,) = _envelope(array), COUNT.unpack_from(array, ENVELOPE.size)
    rest, half = array[length:], level.num_words
    seeded = num == half and len(rest) == SEEDED_BYTES
    if length != ENVELOPE.size + COUNT.size + 8 * num or not (
        seeded or (num == 2 * half and not rest)
    ):
        raise CiphertextError("a ciphertext that is cut short, or of another size")
    words = np.frombuffer(array, "<u8", num, length - 8 * num).astype(np.uint64)
    words = words.reshape(-1, len(level.primes), level.degree)
    if (words >= level.primes[:, None]).any():
        raise CiphertextError("a ciphertext's words exceed their primes")
    if seeded:
        if _envelope(rest) != SEEDED_BYTES or rest[ENVELOPE.size] != BLAKE2XB:
            raise CiphertextError("a ciphertext's seed is of another kind than SEAL's own")
        seed = bytes(rest[-SEED_BYTES:])
        words = np.stack([words[0], expand(seed, level.primes, level.degree)])
    if not words[1].any():
        raise CiphertextError("a transparent ciphertext, which hides nothing")
    return words
