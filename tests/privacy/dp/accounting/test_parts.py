"""Parts of scipy give what scipy gives, bit for bit, and leave its packages whole."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.integrate
import scipy.optimize
import scipy.special

from privacy.dp.accounting import parts

ROOT = Path(__file__).parents[2]
DRAWN = np.random.default_rng(7)


@pytest.mark.parametrize("name", ["ndtr", "log_ndtr", "erfc"])
def test_functions(name):
    x = np.concatenate([DRAWN.normal(0, 20, 500), [0.0, np.inf, -np.inf, np.nan]])
    found, told = getattr(parts, name)(x), getattr(scipy.special, name)(x)
    assert np.array_equal(found, told, equal_nan=True)


def test_binomials():
    n, k = DRAWN.uniform(0, 60, (2, 500))
    assert np.array_equal(parts.binom(n, k), scipy.special.binom(n, k))


@pytest.mark.parametrize("num", [2, 10, 4096, 3 * 2**10])
def test_transforms(num):
    x = DRAWN.normal(size=num)
    spectrum = parts.rfft(x)
    assert np.array_equal(spectrum, scipy.fft.rfft(x))
    assert np.array_equal(parts.irfft(spectrum**7), scipy.fft.irfft(scipy.fft.rfft(x) ** 7))


def test_roots():
    for shift in DRAWN.uniform(-5, 5, 50):

        def f(x, shift=shift):
            return x**3 + x - shift

        assert parts.brentq(f, -9.0, 9.0) == scipy.optimize.brentq(f, -9.0, 9.0)
        told = scipy.optimize.brentq(f, -9.0, 9.0, xtol=1e-15, rtol=1e-12)
        assert parts.brentq(f, -9.0, 9.0, xtol=1e-15, rtol=1e-12) == told


def test_no_root():
    with pytest.raises(ValueError, match="sign"):
        parts.brentq(lambda x: x * x + 1, -1.0, 1.0)
    with pytest.raises(ValueError, match="no number"):
        parts.brentq(lambda x: np.nan, -1.0, 1.0)


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
def test_integrals():
    functions = [np.cos, lambda x: abs(x) ** 0.3, lambda x: 1 / (1e-3 + x * x), lambda x: x > 1.1]
    for f in functions:
        for low, high in [*DRAWN.uniform(-9, 9, (20, 2)), (2.0, 2.0)]:
            told = scipy.integrate.quad(f, low, high, limit=60)
            assert parts.quad(f, low, high, limit=60) == told
    with pytest.raises(ValueError, match="cannot be"):
        parts.quad(np.cos, 0.0, 1.0, limit=0)


WHOLE = """
import sys
from privacy.dp.accounting import parts
before = [name for name in sys.modules if name.startswith("scipy.")]
assert "scipy.special._basic" not in before and "scipy.sparse" not in before, before
import scipy, scipy.special, scipy.linalg.cython_blas
assert "scipy.special._basic" not in sys.modules  # and nothing was asked of it yet
from scipy.special import zeta
assert zeta(2.0) > 1.6 and scipy.special.ndtr is not None and "_basic" in dir(scipy.special)
from scipy import optimize
assert optimize.brentq(lambda x: x - 1, 0, 3) == 1
import scipy.stats, scipy.signal, scipy.integrate, scipy.fft
assert scipy.stats.norm.cdf(0.0) == 0.5 and scipy.fft.rfft([1, 2])[0] == 3
assert scipy.special._ufuncs is sys.modules["scipy.special._ufuncs"]
try:
    scipy.special.nothing_of_this_name
except AttributeError as error:
    print("whole", error)
"""


def test_packages_begin_when_they_are_asked():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WHOLE], capture_output=True, text=True, env=environment
    )
    assert done.stdout.startswith("whole module 'scipy.special' has no"), done.stderr
