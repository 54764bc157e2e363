"""The device's random numbers in numpy, word for word what noise.c draws."""

import numpy as np
from numpy.typing import NDArray

from clients.firmware.numbers.tables import tables

NOISE, SLOW, BATCH, ROUND = 0, 1, 2, 3
BATCH_MORE = BATCH | 0x100
AHEAD = 64  # blocks

Words32 = NDArray[np.uint32]
ALL = (1 << 64) - 1


def chacha(key: Words32, step: int, purpose: int, first: int, num: int) -> Words32:
    """Blocks `first` to `first + num - 1` of ChaCha20 (RFC 8439): nonce (step, purpose, 0).

    Args:
        key: uint32 [8].

    Returns:
        uint32 [16 num].
    """
    state = np.empty((16, num), np.uint32)
    state[:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    state[4:12] = key[:, None]
    state[12] = np.arange(first, first + num)
    state[13:] = np.array([step, purpose, 0], np.uint32)[:, None]
    a, b, c, d = (state[i : i + 4].copy() for i in (0, 4, 8, 12))
    for _ in range(10):
        _quarters(a, b, c, d)
        b, c, d = np.roll(b, -1, 0), np.roll(c, -2, 0), np.roll(d, -3, 0)
        _quarters(a, b, c, d)
        b, c, d = np.roll(b, 1, 0), np.roll(c, 2, 0), np.roll(d, 3, 0)
    return np.ascontiguousarray((np.concatenate([a, b, c, d]) + state).T).ravel()


def _quarters(a: Words32, b: Words32, c: Words32, d: Words32) -> None:
    for left, other in ((16, 12), (8, 7)):
        a += b
        d ^= a
        d[:] = (d << np.uint32(left)) | (d >> np.uint32(32 - left))
        c += d
        b ^= c
        b[:] = (b << np.uint32(other)) | (b >> np.uint32(32 - other))


class Stream:
    """The words of a key, a step and a purpose, in order."""

    def __init__(self, key: Words32, step: int, purpose: int) -> None:
        self._of = (key, step, purpose)
        self._block = self._used = 0
        self._words: list[int] = []

    def word(self) -> int:
        """The next word of 32 bits."""
        if self._used == len(self._words):
            self._words = chacha(*self._of, self._block, AHEAD).tolist()
            self._block += AHEAD
            self._used = 0
        self._used += 1
        return self._words[self._used - 1]

    def long(self) -> int:
        """The next 64 bits."""
        high = self.word()
        return high << 32 | self.word()


def gaussian(key: Words32, step: int, size: int, bits: int) -> NDArray[np.int64]:
    """floor(2^bits Z), int64 [size], of a step."""
    strip = tables().strip
    words = chacha(key, step, NOISE, 0, -(-size // 16))[:size].astype(np.int64)
    brick, width = words >> 20, bits - 5
    slow = np.flatnonzero(brick >= len(strip))
    brick[slow] = 0
    n = strip[brick].astype(np.int64) << width | words & (1 << width) - 1
    drawn = np.where(words >> 15 & 1, ~n, n)
    stream = Stream(key, step, SLOW)
    for i in slow.tolist():
        drawn[i] = _slow(int(words[i]), stream, bits)
    return drawn


def _slow(word: int, stream: Stream, bits: int) -> int:
    t = tables()
    if stream.long() < t.tail:
        n = (4 << bits) + _tail(stream, bits)
    else:
        while True:
            w, high = stream.word(), stream.word()
            if high > t.bound[w >> 25]:
                continue
            u = high << 32 | stream.word()
            n = w >> 25 << bits - 5 | w & (1 << bits - 5) - 1
            x = exponential((2 * n + 1) ** 2 << 40 - 2 * bits)
            if u < x - t.height[w >> 25] << t.shift:
                break
    return ~n if word >> 15 & 1 else n


def _tail(stream: Stream, bits: int) -> int:
    while True:
        zeros, y = stream.word(), stream.word() >> 34 - bits
        u = stream.long() >> 2
        if not zeros:
            continue
        g = (zeros & -zeros).bit_length() - 1
        n = (g << bits - 2) + y
        odd = 2 * n + 1
        t, x = odd * odd + (odd << bits + 4) << 40 - 2 * bits, 1 << 62
        while t >= 1 << 46:
            t, x = t - (1 << 46), x * tables().eight >> 64
        if u < (x * exponential(t) >> 64) << 2 + g:
            return n


def exponential(t: int) -> int:
    """exp(-t / 2^43) in units of 2^-62, 0 <= t < 2^46: off by at most `tables.OFF`."""
    g = (t & 0xFFFFFFFF) << 21
    p = 0xAAAAAAAAAAAAAAA
    p = 0x2AAAAAAAAAAAAAAB - (p * g >> 64)
    p = 0x8000000000000000 - (p * g >> 64)
    p = g - ((p * g >> 64) * g >> 64)
    x = tables().coarse[t >> 39] * tables().fine[t >> 32 & 127] >> 64
    return x - (x * p >> 64)


def poisson(key: Words32, step: int, num: int, rate: int) -> NDArray[np.int64]:
    """The records of a step's batch, in order: each with the probability rate / 2^32."""
    bytes_ = chacha(key, step, BATCH, 0, -(-num // 64)).astype("<u4").view(np.uint8)[:num]
    first, more = rate >> 24, Stream(key, step, BATCH_MORE)
    chosen = bytes_ < first
    for i in np.flatnonzero(bytes_ == first).tolist():
        chosen[i] = more.word() >> 8 < rate & 0xFFFFFF
    return np.flatnonzero(chosen)


def round_word(key: Words32, step: int) -> int:
    """64 bits of a step, by which gradients are rounded at random."""
    high, low = chacha(key, step, ROUND, 0, 1)[:2].tolist()
    return int(high) << 32 | int(low)
