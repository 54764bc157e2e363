"""Key switches in three parts, and what stands around them: values of ciphertexts in, values out.

A polynomial is split by primes into digits, each of which is taken modulo every prime and that of
keys (`decompose`); the digits meet a key (`meet`); the special prime P is divided away (`settle`).
Digits are balanced, from -p / 2 to p / 2: their noise is half that of SEAL's, from 0 to p, and they
stay digits under an automorphism. So one ciphertext that is rotated in many ways is decomposed once
(Halevi and Shoup 2018), and rotated ciphertexts that are summed are settled once. Keys are turned
back beforehand, so that only what has been settled is turned: a sum of d k with k turned back, when
it is turned, is the sum of turned d times k.

Between calls all numbers are at most p in magnitude. Every kernel checks nothing.

Shapes: N the ring's degree, L primes of the data, of which l are left, K = L + 1 with that of keys,
which is the last; digits [l, l + 1, N], their last row modulo P; keys [L, 2, K, N]; sums
[2, l + 1, N].
"""

import numpy as np

from privacy.encrypted.ring.modular import compiled, multiply, reduce
from privacy.encrypted.ring.transforms import backward, forward


@compiled
def decompose(x, t, work, digits):  # type: ignore[no-untyped-def]
    """x [l, N] to its digits modulo all primes."""
    left, degree = x.shape
    special = len(t.p) - 1
    for j in range(left):
        backward(x[j], t, j, work[0], work[1])
        for i in range(left + 1):
            m = i if i < left else special
            if m == j:
                source, target = x[j], digits[j, i]
                for k in range(degree):
                    target[k] = source[k]
            else:
                forward(work[1], t, m, work[0], digits[j, i])


@compiled
def meet(digits, key, t, sums):  # type: ignore[no-untyped-def]
    """The sums of digits times a key's."""
    left, _, degree = digits.shape
    special = len(t.p) - 1
    for i in range(left + 1):
        m = i if i < left else special
        p, inverse = t.p[m], t.inverse[m]
        for c in range(2):
            total = sums[c, i]
            for j in range(left):
                d, w = digits[j, i], key[j, c, m]
                if j == 0:
                    for k in range(degree):
                        total[k] = multiply(d[k], w[k], p, inverse)
                else:
                    for k in range(degree):
                        total[k] = reduce(total[k] + multiply(d[k], w[k], p, inverse), p, inverse)


@compiled
def settle(sums, unit, t, work, out):  # type: ignore[no-untyped-def]
    """Sums [C, l + 1, N] divided by their last prime, rounded: out [C, l, N].

    Of a key switch the last prime is that of keys, of a rescaled ciphertext that which is dropped.

    Args:
        unit: [l], one over that prime, modulo each that is left.
        t: of the primes left, and of that one, the last.
    """
    left = sums.shape[1] - 1
    last, degree = len(t.p) - 1, sums.shape[2]
    for c in range(len(sums)):
        backward(sums[c, left], t, last, work[0], work[1])
        for i in range(left):
            p, inverse, rest = t.p[i], t.inverse[i], work[2]
            forward(work[1], t, i, work[0], rest)
            x, y, w = sums[c, i], out[c, i], unit[i]
            for k in range(degree):
                y[k] = multiply(x[k] - reduce(rest[k], p, inverse), w, p, inverse)


@compiled
def add_turned(x, y, order, t):  # type: ignore[no-untyped-def]
    """x [2, l, N] plus y turned, in place."""
    _, left, degree = x.shape
    for c in range(2):
        for i in range(left):
            p, inverse, u, v = t.p[i], t.inverse[i], x[c, i], y[c, i]
            for k in range(degree):
                u[k] = reduce(u[k] + v[order[k]], p, inverse)


@compiled
def add(x, y, t):  # type: ignore[no-untyped-def]
    """x [C, l, N] plus y [C, l, N], in place."""
    for c in range(len(y)):
        for i in range(y.shape[1]):
            p, inverse, u, v = t.p[i], t.inverse[i], x[c, i], y[c, i]
            for k in range(len(u)):
                u[k] = reduce(u[k] + v[k], p, inverse)


@compiled
def gather(sums, x, whole, order, t, total):  # type: ignore[no-untyped-def]
    """Add to a total what is not settled yet: sums, and x [l, N] times P, both turned.

    Args:
        whole: [l], P modulo each prime.
    """
    _, rows, degree = sums.shape
    special = len(t.p) - 1
    for i in range(rows):
        m = i if i < rows - 1 else special
        p, inverse = t.p[m], t.inverse[m]
        if m != special:
            u, v, w = sums[0, i], x[i], whole[i]
            for k in range(degree):
                u[k] = reduce(u[k] + multiply(v[k], w, p, inverse), p, inverse)
        for c in range(2):
            u, v = total[c, i], sums[c, i]
            for k in range(degree):
                u[k] = reduce(u[k] + v[order[k]], p, inverse)


@compiled
def accumulate(x, plain, t, total, first):  # type: ignore[no-untyped-def]
    """Add x [2, l, N] times a plaintext [l, N] to a total, or set it to that."""
    _, left, degree = x.shape
    for c in range(2):
        for i in range(left):
            p, inverse = t.p[i], t.inverse[i]
            u, v, w = x[c, i], plain[i], total[c, i]
            if first:
                for k in range(degree):
                    w[k] = multiply(u[k], v[k], p, inverse)
            else:
                for k in range(degree):
                    w[k] = reduce(w[k] + multiply(u[k], v[k], p, inverse), p, inverse)


@compiled
def square(x, t, out):  # type: ignore[no-untyped-def]
    """x [2, l, N] squared: out [3, l, N]."""
    _, left, degree = x.shape
    for i in range(left):
        p, inverse = t.p[i], t.inverse[i]
        a, b, u, v, w = x[0, i], x[1, i], out[0, i], out[1, i], out[2, i]
        for k in range(degree):
            y, z = reduce(a[k], p, inverse), reduce(b[k], p, inverse)
            u[k] = multiply(y, y, p, inverse)
            v[k] = reduce(2 * multiply(y, z, p, inverse), p, inverse)
            w[k] = multiply(z, z, p, inverse)


@compiled
def turn(x, order, out):  # type: ignore[no-untyped-def]
    """x [2, l, N] turned."""
    for c in range(2):
        for i in range(x.shape[1]):
            u, v = x[c, i], out[c, i]
            for k in range(len(u)):
                v[k] = u[order[k]]


@compiled
def enter(words, t, out):  # type: ignore[no-untyped-def]
    """Words [C, l, N] in SEAL's order to values."""
    _, left, degree = words.shape
    eighth = degree // 8
    for c in range(len(words)):
        for i in range(left):
            p, inverse, u, v = t.p[i], t.inverse[i], words[c, i], out[c, i].reshape(8, eighth)
            for j in range(8):
                for k in range(eighth):
                    v[j, k] = reduce(np.float64(np.int64(u[8 * k + j])), p, inverse)


@compiled
def leave(x, t, out):  # type: ignore[no-untyped-def]
    """Values [C, l, N] to words in SEAL's order."""
    _, left, degree = x.shape
    eighth = degree // 8
    for c in range(len(x)):
        for i in range(left):
            p, inverse, u, v = t.p[i], t.inverse[i], x[c, i].reshape(8, eighth), out[c, i]
            for k in range(eighth):
                for j in range(8):
                    y = reduce(u[j, k], p, inverse)
                    v[8 * k + j] = np.uint64(y + p if y < 0 else y)
