"""attacks.audit.noise: what tells noise in too few bits from noise that is as fine as float32."""

import numpy as np
import pytest

from attacks.audit.claim import LEVEL
from attacks.audit.noise import misfits


@pytest.mark.parametrize("lattice", [2.0**-30, 2.0**-24, 2.0**-20, 2.0**-12])
@pytest.mark.parametrize("seed", [0, 1])
def test_right_noise_on_a_lattice_told_in_float32_is_no_misfit(lattice, seed):
    z = np.random.default_rng(seed).standard_normal(400_000)
    z = (np.rint(z / lattice) * lattice).astype(np.float32).astype(np.float64)
    found = misfits(z, lattice)
    assert min(found.values()) > LEVEL / len(found), found


@pytest.mark.parametrize("bits", [np.float16, 16, 20])
def test_noise_in_few_bits_meets_too_often(bits):
    z = np.random.default_rng(2).standard_normal(400_000)
    if bits is np.float16:
        z = z.astype(bits).astype(np.float64)
    else:  # the inverse of the distribution at few points
        from scipy.stats import norm

        z = norm.ppf((np.rint(norm.cdf(z) * 2.0**bits - 0.5) + 0.5).clip(0.5) / 2.0**bits)
    assert misfits(z, 2.0**-24)["coincidences"] < 1e-9
