"""The random half of a seeded object, as SEAL makes it of 64 bytes.

SEAL draws buffers of 4,096 bytes by BLAKE2Xb, keyed with the seed, of a counter (randomgen.cpp): a
root by BLAKE2b, whose 64 bytes are the message of a block of output each. Words are taken modulo
their prime; those so large that this would not be uniform are drawn again from the buffers that
come after (`sample_poly_uniform`, rlwe.cpp).
"""

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np

from privacy.encrypted.ring.modular import Words, compiled

SEED_BYTES, BUFFER_BYTES, BLOCK_BYTES = 64, 4096, 64
BUFFER_WORDS = BUFFER_BYTES // 8

_START = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
_ORDERS = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ]
)


def expand(seed: bytes, primes: Words, degree: int) -> Words:
    """The polynomial [L, N] that a seed stands for, modulo its primes."""
    num = len(primes) * degree
    words = _buffers(seed, 0, -(-num // BUFFER_WORDS))
    found, rest = words[:num].reshape(len(primes), degree), words[num:]
    more = _later(seed, len(words) // BUFFER_WORDS, rest)
    for row, p in zip(found, primes, strict=True):
        highest = (1 << 64) - 1
        limit = np.uint64(highest - highest % int(p) - 1)
        for place in np.flatnonzero(row >= limit):
            while row[place] >= limit:
                row[place] = next(more)
        row %= p
    return found


def _later(seed: bytes, counter: int, rest: Words) -> Iterator[np.uint64]:
    while True:
        yield from rest
        rest = _buffers(seed, counter, 1)
        counter += 1


def _buffers(seed: bytes, first: int, num: int) -> Words:
    roots = b"".join(
        hashlib.blake2b(
            struct.pack("<Q", first + i), key=seed, node_offset=BUFFER_BYTES << 32
        ).digest()
        for i in range(num)
    )
    out = np.empty((num, BUFFER_BYTES // BLOCK_BYTES, 8), np.uint64)
    _blocks(np.frombuffer(roots, "<u8").astype(np.uint64).reshape(num, 8), _START, _ORDERS, out)
    return out.ravel()


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _turn(x: Any, bits: Any) -> Any:
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


@compiled
def _blocks(roots, start, orders, out):  # type: ignore[no-untyped-def]
    """BLAKE2b's compression of each root, at each place of the output: out [B, 64, 8]."""
    lanes = out.shape[1]  # side by side, for they differ in one word
    v = np.empty((16, lanes), np.uint64)
    h = np.empty(8, np.uint64)
    message = np.zeros(16, np.uint64)
    for b in range(len(roots)):
        for i in range(8):
            message[i] = roots[b, i]
            h[i] = start[i]
        h[0] ^= np.uint64(64 | 64 << 32)  # digest_length, leaf_length
        h[2] ^= np.uint64(64 << 8)  # inner_length
        xof = np.uint64(BUFFER_BYTES << 32)
        for i in range(8):
            for k in range(lanes):
                v[i, k] = h[i]
                v[i + 8, k] = start[i]
        for k in range(lanes):
            v[1, k] ^= np.uint64(k) | xof
            v[12, k] ^= np.uint64(64)  # bytes
            v[14, k] = ~v[14, k]  # the last block
        for r in range(12):
            for g in range(8):
                a, c = g % 4, 8 + g % 4
                if g < 4:
                    i, j, m, n = a, a + 4, c, c + 4
                else:
                    i, j, m, n = a, 4 + (a + 1) % 4, 8 + (a + 2) % 4, 12 + (a + 3) % 4
                x, y = message[orders[r, 2 * g]], message[orders[r, 2 * g + 1]]
                va, vb, vc, vd = v[i], v[j], v[m], v[n]
                for k in range(lanes):
                    va_, vb_, vc_, vd_ = va[k], vb[k], vc[k], vd[k]
                    va_ = va_ + vb_ + x
                    vd_ = _turn(vd_ ^ va_, 32)
                    vc_ = vc_ + vd_
                    vb_ = _turn(vb_ ^ vc_, 24)
                    va_ = va_ + vb_ + y
                    vd_ = _turn(vd_ ^ va_, 16)
                    vc_ = vc_ + vd_
                    vb_ = _turn(vb_ ^ vc_, 63)
                    va[k], vb[k], vc[k], vd[k] = va_, vb_, vc_, vd_
        for i in range(8):
            for k in range(lanes):
                x = h[i] if i != 1 else h[1] ^ (np.uint64(k) | xof)
                out[b, k, i] = x ^ v[i, k] ^ v[i + 8, k]
