"""Every ring and every lattice in use offers 128 bits: by a table, and by an estimate beside it."""

import math

import pytest

from privacy.encrypted import batch
from privacy.encrypted.recipes import recipes
from privacy.errors import ModelError
from privacy.seal import make_context
from privacy.security import (
    BIT_DEVIATION,
    ERROR_DEVIATION,
    MOST_MODULUS_BITS,
    SECURITY_BITS,
    TERNARY_DEVIATION,
    estimate_bits,
    least_tfhe_deviation,
    require_modulus,
)
from privacy.sums import encrypted_sum

STANDARD_2018 = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}


def rings():
    """Every ring that this code makes a key for: name, degree, bits of the modulus."""
    for squares in range(32):
        for recipe in recipes(squares):
            yield f"{squares} squares, {recipe.degree}", recipe.degree, recipe.modulus_bits
    bits = sum(batch.PRIME_BITS) + batch.SPECIAL_BITS
    yield "batch", batch.DEGREE, bits
    yield "sums", encrypted_sum.DEGREE, encrypted_sum.PRIME_BITS


RINGS = list(rings())


@pytest.mark.parametrize(("name", "degree", "bits"), RINGS, ids=[ring[0] for ring in RINGS])
def test_every_ring_is_within_the_newer_table_and_the_estimate(name, degree, bits):
    require_modulus(degree, bits)
    assert bits <= MOST_MODULUS_BITS[degree] < STANDARD_2018[degree]
    assert estimate_bits(degree, bits, ERROR_DEVIATION, TERNARY_DEVIATION) >= SECURITY_BITS


def test_no_context_is_made_beyond_the_table():
    """Where SEAL itself would allow it: 109 bits is the bound of 2018."""
    with pytest.raises(ModelError, match=r"109 bits in a ring of degree 4096; .* 106 are the most"):
        make_context(4096, (36, 38), 35)
    with pytest.raises(ModelError, match="degree 512"):
        make_context(512, (10,), 10)


@pytest.mark.parametrize("degree", MOST_MODULUS_BITS)
def test_the_estimate_agrees_with_the_table(degree):
    """A few bits above it, since dual and hybrid attacks are better; not twice as far."""
    bits = estimate_bits(degree, MOST_MODULUS_BITS[degree], ERROR_DEVIATION, TERNARY_DEVIATION)
    assert SECURITY_BITS <= bits < SECURITY_BITS + 10


def test_the_estimate_tells_what_is_weak():
    assert estimate_bits(4096, 109, ERROR_DEVIATION, TERNARY_DEVIATION) < SECURITY_BITS
    assert estimate_bits(1024, 60, ERROR_DEVIATION, TERNARY_DEVIATION) < 70
    # more secret bits, more error: harder; a larger modulus: easier
    here = estimate_bits(800, 64, 2.0**45, BIT_DEVIATION)
    assert estimate_bits(850, 64, 2.0**45, BIT_DEVIATION) > here
    assert estimate_bits(800, 64, 2.0**46, BIT_DEVIATION) > here
    assert estimate_bits(800, 66, 2.0**45, BIT_DEVIATION) < here


@pytest.mark.parametrize("dimension", [500, 650, 800, 900, 1024, 2048])
def test_the_curve_of_tfhe_is_within_the_estimate(dimension):
    least = least_tfhe_deviation(dimension)
    bits = estimate_bits(dimension, 64, least * 2.0**64, BIT_DEVIATION)
    assert SECURITY_BITS <= bits < SECURITY_BITS + 10


def test_the_curve_of_tfhe_ends():
    assert least_tfhe_deviation(8192) == 2.0**-62  # two bits of a word are left to the error
    assert math.log2(least_tfhe_deviation(800)) == pytest.approx(-18.641, abs=1e-3)
    with pytest.raises(ModelError, match="450 is the least"):
        least_tfhe_deviation(449)
