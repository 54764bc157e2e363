"""Number-theoretic transforms (NTT): polynomials to their values at the roots of X^N + 1, and back.

Butterflies of Cooley and Tukey there, of Gentleman and Sande back (Longa and Naehrig 2016), two
layers in one pass over memory. The last three layers there, whose partners are near one another,
work on a polynomial that is turned: values are held in the order [8, N / 8], the value that SEAL
has at 8 j + k at [k, j]. So all loops run over whole vectors.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from privacy.encrypted.ring.modular import (
    EXACT_BITS,
    Places,
    Residues,
    balanced,
    compiled,
    multiply,
    reduce,
    transpose,
)


def smallest_root(p: int, degree: int) -> int:
    """The smallest primitive 2N-th root of one modulo p: SEAL's choice, which orders its values."""
    order = 2 * degree
    root = next(
        g for g in (pow(x, (p - 1) // order, p) for x in range(2, p)) if pow(g, degree, p) == p - 1
    )
    square, found = root * root % p, root
    for _ in range(degree):
        found, root = min(found, root), root * square % p
    return found


def reversed_bits(degree: int) -> Places:
    """int [N], the number whose bits are those of each place in the opposite order."""
    found = np.zeros(degree, np.int64)
    for bit in range(degree.bit_length() - 1):
        found = 2 * found + (np.arange(degree) >> bit & 1)
    return found


def turned(values: NDArray) -> NDArray:
    """From SEAL's order [..., N] to that of this room."""
    split = values.reshape(*values.shape[:-1], -1, 8)
    return np.ascontiguousarray(split.swapaxes(-1, -2)).reshape(values.shape)


def turned_back(values: NDArray) -> NDArray:
    """From this room's order [..., N] to SEAL's."""
    split = values.reshape(*values.shape[:-1], 8, -1)
    return np.ascontiguousarray(split.swapaxes(-1, -2)).reshape(values.shape)


class Tables(NamedTuple):
    """Powers of roots for L primes, as kernels take them.

    Attributes:
        p, inverse: the primes and 1 / p [L].
        tight: int [L], one where the sums of a transform must be reduced on the way to stay whole.
        there, back: [L, N], powers by block: that of each place has its bits reversed.
        there_near, back_near: [L, 7, N / 8], those of the three layers of near partners.
        shrink: [L], 1 / N.
    """

    p: Residues
    inverse: Residues
    tight: Places
    there: Residues
    there_near: Residues
    back: Residues
    back_near: Residues
    shrink: Residues

    def first(self, num: int) -> "Tables":
        """Those of the first primes alone."""
        return Tables._make(table[:num] for table in self)


def tables(primes: list[int], degree: int) -> Tables:
    """The tables of primes, each 1 modulo 2N."""
    order, eighth = reversed_bits(degree), degree // 8
    there, back = np.empty((2, len(primes), degree))
    for number, p in enumerate(primes):
        root = smallest_root(p, degree)
        for table, g in ((there, root), (back, pow(root, -1, p))):
            powers = [1]
            for _ in range(degree - 1):
                powers.append(powers[-1] * g % p)
            table[number] = np.array([balanced(x, p) for x in powers], np.float64)[order]
    near = [
        np.concatenate(
            [
                table[:, None, eighth : 2 * eighth],
                table[:, 2 * eighth : 4 * eighth].reshape(-1, eighth, 2).swapaxes(1, 2),
                table[:, 4 * eighth :].reshape(-1, eighth, 4).swapaxes(1, 2),
            ],
            axis=1,
        )
        for table in (there, back)
    ]
    moduli = np.array(primes, np.float64)
    tight = (np.log2(moduli * degree) > EXACT_BITS).astype(np.int64)
    shrink = np.array([balanced(pow(degree, -1, q), q) for q in primes], np.float64)
    return Tables(moduli, 1 / moduli, tight, there, near[0], back, near[1], shrink)


@numba.njit(inline="always")
def _join(u, v, w, p, inverse, tight):  # type: ignore[no-untyped-def]
    """u + w v and u - w v, in place."""
    for j in range(len(u)):
        r = multiply(v[j], w[j], p, inverse)
        x = u[j]
        if tight:
            x = reduce(x, p, inverse)
        u[j] = x + r
        v[j] = x - r


@numba.njit(inline="always")
def _part(u, v, w, p, inverse, tight):  # type: ignore[no-untyped-def]
    """u + v and w (u - v), in place."""
    for j in range(len(u)):
        x, y = u[j], v[j]
        total = x + y
        if tight:
            total = reduce(total, p, inverse)
        u[j] = total
        v[j] = multiply(x - y, w[j], p, inverse)


@compiled
def forward(source, t, m, a, out):  # type: ignore[no-untyped-def]
    """Coefficients [N], of any size, to values out [N] modulo prime m; a [N] is overwritten."""
    degree = len(a)
    w, near, p, inverse, tight = t.there[m], t.there_near[m], t.p[m], t.inverse[m], t.tight[m]
    for j in range(degree):
        a[j] = reduce(source[j], p, inverse)
    half, blocks = degree // 2, 1
    if _odd(degree):
        x, u, v = w[1], a[:half], a[half:]
        for j in range(half):
            r, y = multiply(v[j], x, p, inverse), u[j]
            u[j] = y + r
            v[j] = y - r
        half //= 2
        blocks *= 2
    while half >= 16:
        quarter = half // 2
        for i in range(blocks):
            x, y, z = w[blocks + i], w[2 * blocks + 2 * i], w[2 * blocks + 2 * i + 1]
            start = 2 * half * i
            a0 = a[start : start + quarter]
            a1 = a[start + quarter : start + half]
            a2 = a[start + half : start + half + quarter]
            a3 = a[start + half + quarter : start + 2 * half]
            for j in range(quarter):
                r2 = multiply(a2[j], x, p, inverse)
                r3 = multiply(a3[j], x, p, inverse)
                u0, u1 = a0[j], a1[j]
                if tight:
                    u0, u1 = reduce(u0, p, inverse), reduce(u1, p, inverse)
                b0, b1, b2, b3 = u0 + r2, u1 + r3, u0 - r2, u1 - r3
                r1 = multiply(b1, y, p, inverse)
                r3 = multiply(b3, z, p, inverse)
                a0[j] = b0 + r1
                a1[j] = b0 - r1
                a2[j] = b2 + r3
                a3[j] = b2 - r3
        half //= 4
        blocks *= 4
    eighth = degree // 8
    for j in range(0, eighth, 8):
        transpose(a, 8 * j, 8, out, j, eighth)
    b = out.reshape(8, eighth)
    for k in range(4):
        _join(b[k], b[k + 4], near[0], p, inverse, tight)
    for k in range(2):
        _join(b[k], b[k + 2], near[1], p, inverse, tight)
        _join(b[k + 4], b[k + 6], near[2], p, inverse, tight)
    for k in range(4):
        _join(b[2 * k], b[2 * k + 1], near[3 + k], p, inverse, tight)


@compiled
def backward(values, t, m, work, a):  # type: ignore[no-untyped-def]
    """Values [N] modulo prime m to coefficients a [N], balanced; work [N] is overwritten."""
    degree = len(values)
    w, near, p, inverse, tight = t.back[m], t.back_near[m], t.p[m], t.inverse[m], t.tight[m]
    eighth = degree // 8
    for j in range(degree):
        work[j] = values[j]
    b = work.reshape(8, eighth)
    for k in range(4):
        _part(b[2 * k], b[2 * k + 1], near[3 + k], p, inverse, tight)
    for k in range(2):
        _part(b[k], b[k + 2], near[1], p, inverse, tight)
        _part(b[k + 4], b[k + 6], near[2], p, inverse, tight)
    for k in range(4):
        _part(b[k], b[k + 4], near[0], p, inverse, tight)
    for j in range(0, eighth, 8):
        transpose(work, j, eighth, a, 8 * j, 8)
    quarter, blocks = 8, degree // 16
    while blocks >= 2:
        half, pairs = 2 * quarter, blocks // 2
        for i in range(pairs):
            x, y, z = w[pairs + i], w[blocks + 2 * i], w[blocks + 2 * i + 1]
            start = 2 * half * i
            a0 = a[start : start + quarter]
            a1 = a[start + quarter : start + half]
            a2 = a[start + half : start + half + quarter]
            a3 = a[start + half + quarter : start + 2 * half]
            for j in range(quarter):
                u0, u1, u2, u3 = a0[j], a1[j], a2[j], a3[j]
                b0, b2 = u0 + u1, u2 + u3
                b1 = multiply(u0 - u1, y, p, inverse)
                b3 = multiply(u2 - u3, z, p, inverse)
                if tight:
                    b0, b2 = reduce(b0, p, inverse), reduce(b2, p, inverse)
                c0, c1 = b0 + b2, b1 + b3
                if tight:
                    c0, c1 = reduce(c0, p, inverse), reduce(c1, p, inverse)
                a0[j] = c0
                a1[j] = c1
                a2[j] = multiply(b0 - b2, x, p, inverse)
                a3[j] = multiply(b1 - b3, x, p, inverse)
        quarter *= 4
        blocks //= 4
    if blocks == 1:
        x, a0, a1 = w[1], a[: degree // 2], a[degree // 2 :]
        for j in range(degree // 2):
            y, z = a0[j], a1[j]
            a0[j] = y + z
            a1[j] = multiply(y - z, x, p, inverse)
    shrink = t.shrink[m]
    for j in range(degree):
        a[j] = reduce(multiply(a[j], shrink, p, inverse), p, inverse)


@numba.njit(inline="always")
def _odd(degree):  # type: ignore[no-untyped-def]
    """Whether an odd number of layers comes before the last three."""
    layers = 0
    while degree > 8:
        degree //= 2
        layers += 1
    return layers % 2 == 1
