"""The one-pass optimizer's noise: its size, its mean, and no repetition."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, norm
from test_bookkeeping import one_pass
from torch import Tensor, nn

from privacy.cipher import Key
from privacy.dp.noise import Noise

# Noise

SIGMA, CLIP, EXPECTED = 1.3, 0.7, 16


STD = SIGMA * CLIP / EXPECTED


def noises(steps: int = 1, seed: int = 0) -> list[Tensor]:
    """The updates of `steps` empty batches: noise alone, 160,000 numbers each, layer by layer."""
    model = nn.Sequential(nn.Linear(399, 200), nn.Linear(399, 200, bias=False))
    optimizer = one_pass(
        model,
        noise_multiplier=SIGMA,
        max_grad_norm=CLIP,
        expected_batch_size=EXPECTED,
        noise=Noise(Key.of("noise", seed)),
    )
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        optimizer.step()
        found.append(torch.cat([p.grad.flatten().double() for p in optimizer.params]))
    return found


def std_holds(noise: Tensor) -> bool:
    """Chi-square test of the standard deviation, in all and in each half."""
    for part in (noise, *noise.chunk(2)):
        statistic, n = float(part.square().sum()) / STD**2, len(part)
        if not 1e-4 < chi2.cdf(statistic, n) < 1 - 1e-4:
            return False
    return True


def mean_holds(noise: Tensor) -> bool:
    """z-test of a mean of zero."""
    return abs(float(noise.mean())) / STD * math.sqrt(len(noise)) < norm.isf(1e-4)


def uncorrelated(a: Tensor, b: Tensor) -> bool:
    """z-test of a covariance of zero."""
    return abs(float((a * b).sum())) / STD**2 / math.sqrt(len(a)) < norm.isf(1e-4)


def test_noise() -> None:
    """N(0, (sigma C / expected)^2), independent over coordinates and over steps."""
    first, second = noises(steps=2)
    assert len(first) >= 100_000
    for noise in (first, second):
        assert std_holds(noise)
        assert mean_holds(noise)
        assert uncorrelated(*noise.chunk(2))
        assert uncorrelated(noise[:-1], noise[1:])
    assert uncorrelated(first, second)
    assert not torch.equal(first, second)
    assert torch.equal(first, noises()[0])  # the generator is the only source
    assert uncorrelated(first, noises(seed=1)[0])


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Tensor], Tensor]], None]:
    """Pass all deviates through a function."""
    integers = Noise.integers

    def through(change: Callable[[Tensor], Tensor]) -> None:
        def changed(self: Noise, deviation: float, size: int) -> NDArray[np.int64]:
            z = torch.from_numpy(integers(self, deviation, size)) / deviation
            return np.rint(change(z).numpy() * deviation).astype(np.int64)

        monkeypatch.setattr(Noise, "integers", changed)

    return through


@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_noise_of_the_wrong_size_is_caught(
    factor: float, sabotage: Callable[[Callable[[Tensor], Tensor]], None]
) -> None:
    """Twin: 2 % less or more fails the chi-square test."""
    sabotage(lambda noise: noise * factor)
    assert not std_holds(noises()[0])


def test_shifted_noise_is_caught(sabotage: Callable[[Callable[[Tensor], Tensor]], None]) -> None:
    """Twin: a mean of 2 % of the standard deviation fails."""
    sabotage(lambda noise: noise + 0.02)
    assert not mean_holds(noises()[0])


def test_repeated_noise_is_caught(sabotage: Callable[[Callable[[Tensor], Tensor]], None]) -> None:
    """Twin: the same numbers for every layer and step fail, although their size is right."""
    torch.manual_seed(1)
    same = torch.randn(200 * 399)
    sabotage(lambda noise: torch.cat([same, same[:200], same])[: len(noise)])
    first, second = noises(steps=2)
    weights = first[: 200 * 399], first[-200 * 399 :]
    assert not uncorrelated(*weights)
    assert not uncorrelated(first, second)
