"""The sampler against the law it claims, drawn from the bit patterns that the board reads."""

import math

import mpmath
import numpy as np
from scipy.stats import chi2, kstest, norm

from clients.firmware.numbers import noise
from clients.firmware.numbers.tables import OFF, STRIPS, tables

KEY = np.arange(8, dtype=np.uint32)


def test_the_keystream_is_that_of_rfc_8439():
    key = np.frombuffer(bytes(range(32)), "<u4")
    block = noise.chacha(key, 0x09000000, 0x4A000000, 1, 2)[:16]  # section 2.3.2
    assert block.tobytes().hex().startswith("10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c7")


def test_the_exponential_is_as_exact_as_is_charged():
    with mpmath.workdps(40):
        for t in np.random.default_rng(0).integers(0, 1 << 46, 300).tolist():
            truth = mpmath.exp(-mpmath.mpf(t) / 2**43)
            assert abs(mpmath.mpf(noise.exponential(t)) / 2**62 - truth) < OFF / 2


def test_bricks_and_what_is_above_them_make_the_density():
    """Each strip's probability, from the tables alone: bricks exactly, the rest in proportion."""
    t, width = tables(), 1 / 32
    bricks = np.bincount(t.strip, minlength=STRIPS) / 4096
    left = 1 - bricks.sum()
    above = np.empty(STRIPS)
    for j in range(STRIPS):
        area = math.sqrt(2 * math.pi) * (norm.cdf((j + 1) * width) - norm.cdf(j * width))
        above[j] = area - t.height[j] / 2**62 * width
    tail = left * t.tail / 2**64
    drawn = bricks + (left - tail) * above / above.sum()
    truth = 2 * np.diff(norm.cdf(np.arange(STRIPS + 1) * width))
    assert np.abs(drawn / truth - 1).max() < 1e-9
    assert tail == 2 * norm.sf(4.0) or abs(tail / (2 * norm.sf(4.0)) - 1) < 1e-9


def test_draws_are_a_floored_gaussian():
    """A coarse grid, cell by cell; a fine one, by its law; and the rare draws by themselves."""
    coarse = noise.gaussian(KEY, 1, 400_000, 8)
    edges = np.arange(-1024, 1025, 64)
    expected = len(coarse) * np.diff(norm.cdf(edges / 256))
    seen = np.histogram(coarse, edges)[0]
    kept = expected > 20
    statistic = ((seen - expected)[kept] ** 2 / expected[kept]).sum()
    assert chi2.sf(statistic, kept.sum()) > 1e-4
    fine = noise.gaussian(KEY, 2, 100_000, 20)
    assert kstest((fine + 0.5) / 2**20, "norm").pvalue > 1e-4
    stream = noise.Stream(KEY, 3, noise.SLOW)
    far = np.array([noise._tail(stream, 20) for _ in range(2000)]) / 2**20 + 4
    assert kstest(far, lambda x: 1 - norm.sf(x) / norm.sf(4)).pvalue > 1e-4


def test_a_batch_is_a_poisson_sample():
    """One in 200 and all; the rate's second half counts."""
    rate = int(2**32 / 200)
    sizes = [len(noise.poisson(KEY, step, 10_000, rate)) for step in range(60)]
    assert abs(np.mean(sizes) - 50) < 4 * math.sqrt(50 / 60)
    assert 0.5 < np.var(sizes) / 50 < 1.7
    assert len(noise.poisson(KEY, 1, 1000, 1 << 32)) == 1000
    less = noise.poisson(KEY, 1, 100_000, 1 << 24)
    assert 300 < len(less) < 490  # the first byte says 1 of 256
