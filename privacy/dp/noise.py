"""Gaussian noise at memory speed, from a stream cipher.

The bits are ChaCha20's keystream (RFC 8439), made for many counters side by side, and become normal
deviates by the Box-Muller transform. With a key from the operating system the noise is
cryptographically secure; with a key from a seeded generator a run can be repeated. Either way it is
this code that runs.
"""

import secrets
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SECURE, SEEDED = "secure", "seeded"

LANES = 64  # counters side by side: four vectors of 16
WORDS = 16 * LANES  # in one call of the cipher

CONSTANTS = tuple(np.frombuffer(b"expand 32-byte k", np.uint32))

Words = NDArray[np.uint32]

u32 = np.uint32  # numba computes in 64 bits, so each sum is cut back to 32

compiled: Any = numba.njit(nogil=True, cache=True)


class Noise:
    """A source of independent standard normal deviates.

    Args:
        seed: gives the key; without one the operating system does, and the noise is secure.
    """

    def __init__(self, seed: torch.Generator | None = None) -> None:
        self.origin = SECURE if seed is None else SEEDED
        self._key = key_of(seed)
        self._counter = 0

    def normal(self, out: Tensor) -> Tensor:
        """Fill `out` (float32, contiguous) with deviates; none is ever given twice."""
        if self.origin == SEEDED:
            return self._draw(out)
        # Half the sum of four: the low bits then betray no single draw (Holohan and Braghin 2021).
        total = self._draw(out)
        for _ in range(3):
            total.add_(self._draw(torch.empty_like(out)))
        return total.div_(2)

    def _draw(self, out: Tensor) -> Tensor:
        normal(self._key, self._counter, out.view(-1).numpy())
        self._counter += -(-out.numel() // WORDS) * LANES
        return out


def key_of(seed: torch.Generator | None) -> Words:
    """A key [8] from a seeded generator, or without one from the operating system."""
    if seed is None:
        return np.frombuffer(secrets.token_bytes(32), np.uint32)
    return torch.randint(1 << 32, (8,), generator=seed).numpy().astype(np.uint32)


@compiled  # type: ignore[untyped-decorator]
def normal(key: Words, counter: int, out: NDArray[np.float32]) -> None:
    """Standard normal deviates, from the keystream that begins at block `counter`."""
    words, deviates = np.empty(WORDS, np.uint32), np.empty(WORDS, np.float32)
    for start in range(0, len(out), WORDS):
        keystream(key, counter + start // WORDS * LANES, words)
        if start + WORDS <= len(out):
            _box_muller(words, out[start : start + WORDS])
        else:
            _box_muller(words, deviates)
            out[start:] = deviates[: len(out) - start]


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


@compiled  # type: ignore[untyped-decorator]
def _box_muller(words: Words, out: NDArray[np.float32]) -> None:
    """Half of the words give radii, half angles: 30 bits within a quadrant, 2 for which."""
    half = WORDS // 2
    for i in range(half):
        u = (np.float32(words[i]) + np.float32(0.5)) * np.float32(2**-32)  # in (0, 1]
        radius = np.sqrt(np.float32(-2) * _log(u))
        angle = words[half + i]
        turn = np.float32(angle & u32(0x3FFFFFFF)) * np.float32(2**-30) - np.float32(0.5)
        a = turn * np.float32(np.pi / 2)  # in [-pi/4, pi/4]
        s = a * a
        sine = np.float32(-1.9515295891e-4) * s + np.float32(8.3321608736e-3)
        sine = (sine * s - np.float32(1.6666654611e-1)) * s * a + a
        cosine = np.float32(2.443315711809948e-5) * s - np.float32(1.388731625493765e-3)
        cosine = (cosine * s + np.float32(4.166664568298827e-2)) * s * s
        cosine = cosine - np.float32(0.5) * s + np.float32(1)
        odd, negative = (angle >> u32(30)) & u32(1), angle >> u32(31)
        radius = -radius if negative else radius
        out[i] = radius * (sine if odd else cosine)
        out[half + i] = radius * (cosine if odd else -sine)


@compiled  # type: ignore[untyped-decorator]
def _log(x: Any) -> Any:
    """Natural logarithm of a normal float32 (Cephes' logf, without branches)."""
    shifted = u32(np.float32(x).view(np.uint32) - u32(0x3F3504F3))
    exponent = np.float32(np.int32(u32(shifted).view(np.int32)) >> np.int32(23))
    m = u32((shifted & u32(0x007FFFFF)) + u32(0x3F3504F3)).view(np.float32)
    f = m - np.float32(1)
    z = f * f
    p = np.float32(7.0376836292e-2) * f - np.float32(1.1514610310e-1)
    p = p * f + np.float32(1.1676998740e-1)
    p = p * f - np.float32(1.2420140846e-1)
    p = p * f + np.float32(1.4249322787e-1)
    p = p * f - np.float32(1.6668057665e-1)
    p = p * f + np.float32(2.0000714765e-1)
    p = p * f - np.float32(2.4999993993e-1)
    p = p * f + np.float32(3.3333331174e-1)
    y = p * f * z + np.float32(-2.12194440e-4) * exponent - np.float32(0.5) * z
    return f + y + np.float32(0.693359375) * exponent
