"""The discrete Fourier transform of a board in numpy: the same bits as c/fourier.h.

Of any length N, by its prime factors, the smallest first (Cooley and Tukey 1965, decimation in
time). A line is read in the order of `order`; a stage joins p spectra of `span` values to one of
p span. What it gives at k + q span, 0 <= k < span, 0 <= q < p, is x_0[k], then for r = 1 ... p - 1
in this order plus x_r[k] times cos a - i sin a of a = 2 pi r (k + q span) / (p span), as the table
of N cosines and sines in float32 has them. A product is (x c + y s, y c - x s), each of them
rounded before they are added; the inverse has -s for s, and is not divided by N.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

f4 = np.float32
Floats = NDArray[np.float32]
MOST_SIZE = 1 << 15  # of a line: places are 16 bits


class Line(NamedTuple):
    """Of a length.

    Attributes:
        factors: primes, in the order of the stages.
        order: where each place of a line is read, uint16 [N].
        cosines, sines: of 2 pi k / N, float32 [N].
    """

    size: int
    factors: tuple[int, ...]
    order: NDArray[np.uint16]
    cosines: Floats
    sines: Floats


@lru_cache(maxsize=16)
def line_of(size: int) -> Line:
    """Raises ValueError: no length of a line."""
    if not 1 <= size <= MOST_SIZE:
        raise ValueError(f"a line of {size} values")
    factors, left, prime = [], size, 2
    while left > 1:
        while left % prime:
            prime += 1
        factors.append(prime)
        left //= prime
    angles = 2 * np.pi * np.arange(size) / size
    return Line(
        size,
        tuple(factors),
        _by_stages(size, factors),
        np.cos(angles).astype(f4),
        np.sin(angles).astype(f4),
    )


def _by_stages(size: int, factors: list[int]) -> NDArray[np.uint16]:
    """The last stage joins spectra of every p-th value, the one before those of each of them."""
    order = np.arange(size).reshape(1, size)
    for factor in reversed(factors):
        order = order.reshape(len(order), -1, factor).transpose(0, 2, 1)
        order = order.reshape(-1, order.shape[2])
    return order.reshape(-1).astype(np.uint16)


def transform(line: Line, real: Floats, imaginary: Floats, sign: int) -> tuple[Floats, Floats]:
    """Lines [..., N], in their own order, to their spectra.

    Args:
        sign: 1; or -1 for the inverse.
    """
    a, b = (part[..., line.order.astype(np.int64)] for part in (real, imaginary))
    sines = line.sines * f4(sign)
    span = 1
    for p in line.factors:
        sides = (*real.shape[:-1], line.size // (p * span), p, span)
        a, b = a.reshape(sides), b.reshape(sides)
        by = np.arange(p * span) * (line.size // (p * span))  # [p span]: of r = 1
        re = np.repeat(a[..., :1, :], p, -2)
        im = np.repeat(b[..., :1, :], p, -2)
        for r in range(1, p):
            at = (r * by % line.size).reshape(p, span)
            c, s = line.cosines[at], sines[at]
            x, y = a[..., r : r + 1, :], b[..., r : r + 1, :]
            re, im = re + (x * c + y * s), im + (y * c - x * s)  # [..., blocks, p, span]
        span *= p
        a, b = re.reshape(real.shape), im.reshape(real.shape)
    return a, b


def transform_maps(
    rows: Line, columns: Line, real: Floats, imaginary: Floats, sign: int
) -> tuple[Floats, Floats]:
    """Maps [..., P, Q]: each row, of which `rows` is the line, then each column."""
    real, imaginary = transform(rows, real, imaginary, sign)
    turned, other = (part.swapaxes(-1, -2) for part in (real, imaginary))
    real, imaginary = transform(columns, turned, other, sign)
    return real.swapaxes(-1, -2), imaginary.swapaxes(-1, -2)
