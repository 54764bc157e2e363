"""What is added up."""

from dataclasses import dataclass

# Total variation between a draw of `privacy.dp.noise` and the rounded Gaussian: the last bit of
# 256, at most 2^48 to one (the density in units of the radius, over all that it can be).
TOTAL_VARIATION = 2.0**-200
LEAST_NOISE = 1e-9  # less is none: squares of its inverse would leave float64


@dataclass(frozen=True)
class Spent:
    """`steps` Poisson-subsampled Gaussian steps: sigma = noise_multiplier, q = sample_rate."""

    noise_multiplier: float
    sample_rate: float
    steps: int
