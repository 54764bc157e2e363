"""Transforms, key switches and what stands around them are exact: against whole numbers of Python.

Primes go up to the 50 bits that float64 bears, and numbers to their edges.
"""

import numpy as np
import oracles_encrypted as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encrypted.ring import switching
from privacy.encrypted.ring.modular import MOST_PRIME_BITS, balanced
from privacy.encrypted.ring.transforms import (
    backward,
    forward,
    reversed_bits,
    smallest_root,
    tables,
    turned,
)

BITS = (20, 36, 37, 49, MOST_PRIME_BITS)


def primes_below(bits, degree, num):
    """The largest primes of so many bits that are 1 modulo 2N."""
    found, p = [], (1 << bits) + 1 - 2 * degree
    while len(found) < num:
        if pow(2, p - 1, p) == 1 and pow(3, p - 1, p) == 1:
            found.append(p)
        p -= 2 * degree
    return found


def spread(rng, p, shape):
    """Numbers from -p to p, both edges and zero among them."""
    found = rng.integers(-p, p + 1, shape).astype(float)
    found.flat[:3] = -p, p, 0
    return found


def transformed(coefficients, t, m):
    out = np.empty(len(coefficients))
    forward(np.asarray(coefficients, float), t, m, np.empty(len(out)), out)
    return out


def returned(values, t, m):
    out = np.empty(len(values))
    backward(values, t, m, np.empty(len(out)), out)
    return out


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(BITS), st.sampled_from((64, 128, 256)), st.integers(0, 2**32))
def test_a_transform_is_the_polynomial_at_the_roots(bits, degree, seed):
    (p,) = primes_below(bits, degree, 1)
    t = tables([p], degree)
    x = spread(np.random.default_rng(seed), p, degree)
    found = transformed(x, t, 0)
    assert np.abs(found).max() < 2.0**53
    expected = oracle.values(x, smallest_root(p, degree), p)
    assert np.array_equal(found % p, turned(np.array(expected, float)))
    back = returned(np.array([oracle.rest(v, p) for v in found], float), t, 0)
    assert np.array_equal(back, [oracle.rest(c, p) for c in x])


@pytest.mark.parametrize("bits", BITS)
def test_a_long_transform_of_extreme_numbers_returns(bits):
    """Where sums grow most: all coefficients, then all values, as large as they may be."""
    degree = 8192
    (p,) = primes_below(bits, degree, 1)
    t = tables([p], degree)
    for x in (np.full(degree, p // 2), np.tile([p // 2, -(p // 2)], degree // 2)):
        values = transformed(x, t, 0)
        assert np.array_equal(values, np.rint(values))
        assert np.abs(values).max() < 2.0**53
        rests = values - p * np.rint(values / p)
        assert np.array_equal(returned(rests, t, 0), x.astype(float))
        inverse = returned(x.astype(float), t, 0)
        again = transformed(inverse, t, 0).astype(np.int64) - x
        assert not (again % p).any()


def test_the_root_is_the_smallest_and_places_are_reversed():
    p, degree = 97, 16
    roots = [x for x in range(2, p) if pow(x, degree, p) == p - 1]
    assert smallest_root(p, degree) == min(roots)
    assert reversed_bits(8).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    assert balanced(96, p) == -1
    assert balanced(48, p) == 48


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(((50, 50, 50), (49, 50, 36), (36, 37, 33), (20, 50, 20))),
    st.integers(1, 2),
    st.integers(0, 2**32),
)
def test_a_key_switch_is_digits_times_keys_over_the_last_prime(bits, left, seed):
    degree, rng = 64, np.random.default_rng(seed)
    found = {b: iter(primes_below(b, degree, 3)) for b in set(bits)}
    primes = [next(found[b]) for b in bits]
    t = tables(primes, degree)
    x = [spread(rng, p, degree) for p in primes[:left]]
    key = [[[rng.integers(0, p, degree) for p in primes] for _ in range(2)] for _ in range(2)]
    expected = oracle.key_switch(x, key, primes)

    places = [*range(left), 2]
    values = np.array([transformed(x[m], t, m) for m in range(left)])
    values -= t.p[:left, None] * np.rint(values / t.p[:left, None])
    keys = np.array(
        [
            [
                [oracle.rest(v, p) for v in transformed(row, t, m)]
                for m, (p, row) in enumerate(zip(primes, part, strict=True))
            ]
            for digit in key
            for part in digit
        ],
        float,
    ).reshape(2, 2, 3, degree)
    work, digits = np.empty((3, degree)), np.empty((left, left + 1, degree))
    switching.decompose(values, t, work, digits)
    sums, out = np.empty((2, left + 1, degree)), np.empty((2, left, degree))
    switching.meet(digits, keys, t, sums)
    unit = np.array([balanced(pow(primes[2], -1, p), p) for p in primes[:left]], float)
    switching.settle(sums, unit, t, work, out)
    for part in range(2):
        for m in range(left):
            got = returned(out[part, m], t, m)
            assert np.array_equal(got % primes[m], np.array(expected[part][m], float)), places


def test_sums_products_and_squares_are_exact_at_the_edges():
    degree, rng = 64, np.random.default_rng(0)
    primes = primes_below(MOST_PRIME_BITS, degree, 2)
    t = tables(primes, degree)
    x, y = (
        np.stack([np.stack([spread(rng, p, degree) for p in primes]) for _ in range(2)])
        for _ in range(2)
    )
    plain = np.stack([rng.integers(-(p // 2), p // 2, degree) for p in primes]).astype(float)
    modulus = np.array(primes, object)[:, None]
    whole = np.vectorize(int, otypes=[object])

    def same(found, expected):
        assert np.array_equal(whole(found) % modulus, expected % modulus)
        assert np.abs(found).max() <= max(primes)

    total = y.copy()
    switching.accumulate(x, plain, t, total, False)
    same(total, whole(y) + whole(x) * whole(plain))
    switching.accumulate(x, plain, t, total, True)
    same(total, whole(x) * whole(plain))
    total = y.copy()
    switching.add(total, x, t)
    same(total, whole(y) + whole(x))
    order = rng.permutation(degree)
    total = y.copy()
    switching.add_turned(total, x, order, t)
    same(total, whole(y) + whole(x)[..., order])
    squared = np.empty((3, 2, degree))
    switching.square(x, t, squared)
    a, b = whole(x)
    same(squared, np.stack([a * a, 2 * a * b, b * b]))


def test_words_enter_and_leave_as_they_were():
    degree, rng = 64, np.random.default_rng(1)
    primes = primes_below(MOST_PRIME_BITS, degree, 2)
    t = tables(primes, degree)
    words = np.stack([rng.integers(0, p, (3, degree)) for p in primes], axis=1).astype(np.uint64)
    words[:, :, 0] = [p - 1 for p in primes]
    values, again = np.empty(words.shape), np.empty_like(words)
    switching.enter(words, t, values)
    assert np.abs(values).max() <= max(primes) / 2
    switching.leave(values, t, again)
    assert np.array_equal(again, words)
    switching.leave(values - t.p[:, None], t, again)  # any number congruent to them
    assert np.array_equal(again, words)
