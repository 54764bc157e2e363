"""Keys of 256 bits, and the random bits that the stream cipher ChaCha20 (RFC 8439) makes of them.

All secrets come from here: batches, noise, masks and dice. A key is the operating system's, or it
is derived from what is known; from it follow keys for other purposes, and a stream of words. The
keystream is made for many counters side by side, at the speed of memory.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.compiling import compiled

KEY_BYTES = 32
LANES = 64  # counters side by side: four vectors of 16
WORDS = 16 * LANES  # in one call of the cipher

CONSTANTS = tuple(np.frombuffer(b"expand 32-byte k", np.uint32))

Words = NDArray[np.uint32]
LongWords = NDArray[np.uint64]

u32 = np.uint32  # numba computes in 64 bits, so each sum is cut back to 32


@dataclass(frozen=True, repr=False)
class Key:
    """256 bits. Equal keys give equal streams; it is never printed."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != KEY_BYTES:
            raise ValueError(f"a key of {len(self.value)} bytes, not {KEY_BYTES}")

    @classmethod
    def secret(cls) -> "Key":
        """A key from the operating system, which nobody knows."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def of(cls, *path: str | int | bytes) -> "Key":
        """The key that follows from what is known: as secret as that."""
        return cls(bytes(KEY_BYTES)).derive(*path)

    def derive(self, *path: str | int | bytes) -> "Key":
        """The key for a purpose: `key.derive("noise", round)`. None tells of any other."""
        mixed = hashlib.blake2b(key=self.value, digest_size=KEY_BYTES)
        for part in path:
            encoded = part if isinstance(part, bytes) else str(part).encode()
            kind = type(part).__name__[:1].encode()  # 1 and "1" are two purposes
            mixed.update(kind + len(encoded).to_bytes(8, "big") + encoded)
        return Key(mixed.digest())

    def words(self) -> Words:
        """As the cipher reads it, uint32 [8]."""
        return np.frombuffer(self.value, "<u4").astype(np.uint32)

    def seed(self) -> int:
        """63 bits for a library's own generator, where nothing secret depends on it."""
        return int.from_bytes(self.value[:8], "big") >> 1


class Stream:
    """A key's words, each given once."""

    def __init__(self, key: Key) -> None:
        self._key, self._counter = key.words(), 0

    def words(self, num: int) -> LongWords:
        """Independent words of 64 bits, uint64 [num]."""
        out = np.empty(-(-2 * num // WORDS) * WORDS, np.uint32)
        stream(self._key, self._counter, out)
        self._counter += len(out) // 16
        return out.view(np.uint64)[:num]

    def permutation(self, num: int) -> NDArray[np.int64]:
        """0 ... num - 1 in random order."""
        return np.argsort(self.words(num), kind="stable")


@compiled  # type: ignore[untyped-decorator]
def stream(key: Words, counter: int, out: Words) -> None:
    """Keystream from block `counter` on; `out` is a multiple of WORDS long."""
    for start in range(0, len(out), WORDS):
        keystream(key, counter + start // WORDS * LANES, out[start : start + WORDS])


@compiled  # type: ignore[untyped-decorator]
def keystream(key: Words, counter: int, out: Words) -> None:
    """Blocks `counter` to `counter + LANES - 1` of ChaCha20, nonce zero.

    Word i of block l goes to `out[i * LANES + l]`. The counter has 64 bits, as in Bernstein's
    original; RFC 8439's is its lower half. Everything about one block is straight-line code, so
    that the compiler puts 16 blocks side by side in vector registers.
    """
    k = (key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7])
    for lane in range(LANES):
        block = np.uint64(counter + lane)
        low, high = u32(block), u32(block >> np.uint64(32))
        start = (*CONSTANTS, *k, low, high, u32(0), u32(0))
        x = _double_round(*_double_round(*_double_round(*_double_round(*_double_round(*start)))))
        x = _double_round(*_double_round(*_double_round(*_double_round(*_double_round(*x)))))
        out[0 * LANES + lane] = u32(x[0] + start[0])
        out[1 * LANES + lane] = u32(x[1] + start[1])
        out[2 * LANES + lane] = u32(x[2] + start[2])
        out[3 * LANES + lane] = u32(x[3] + start[3])
        out[4 * LANES + lane] = u32(x[4] + start[4])
        out[5 * LANES + lane] = u32(x[5] + start[5])
        out[6 * LANES + lane] = u32(x[6] + start[6])
        out[7 * LANES + lane] = u32(x[7] + start[7])
        out[8 * LANES + lane] = u32(x[8] + start[8])
        out[9 * LANES + lane] = u32(x[9] + start[9])
        out[10 * LANES + lane] = u32(x[10] + start[10])
        out[11 * LANES + lane] = u32(x[11] + start[11])
        out[12 * LANES + lane] = u32(x[12] + start[12])
        out[13 * LANES + lane] = u32(x[13] + start[13])
        out[14 * LANES + lane] = u32(x[14] + start[14])
        out[15 * LANES + lane] = u32(x[15] + start[15])


@compiled  # type: ignore[untyped-decorator]
def _double_round(
    a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any,
    i: Any, j: Any, k: Any, l: Any, m: Any, n: Any, o: Any, p: Any,  # noqa: E741
) -> Any:  # fmt: skip
    a, e, i, m = _quarter_round(a, e, i, m)
    b, f, j, n = _quarter_round(b, f, j, n)
    c, g, k, o = _quarter_round(c, g, k, o)
    d, h, l, p = _quarter_round(d, h, l, p)  # noqa: E741
    a, f, k, p = _quarter_round(a, f, k, p)
    b, g, l, m = _quarter_round(b, g, l, m)  # noqa: E741
    c, h, i, n = _quarter_round(c, h, i, n)
    d, e, j, o = _quarter_round(d, e, j, o)
    return a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p


@compiled  # type: ignore[untyped-decorator]
def _quarter_round(p: Any, q: Any, r: Any, s: Any) -> Any:
    p = u32(p + q)
    s = _rotate(u32(s ^ p), 16)
    r = u32(r + s)
    q = _rotate(u32(q ^ r), 12)
    p = u32(p + q)
    s = _rotate(u32(s ^ p), 8)
    r = u32(r + s)
    q = _rotate(u32(q ^ r), 7)
    return p, q, r, s


@compiled  # type: ignore[untyped-decorator]
def _rotate(x: Any, left: int) -> Any:
    return u32(u32(x << u32(left)) | u32(x >> u32(32 - left)))
