"""The noise: ChaCha20's keystream as the standard has it, and normal deviates made of it."""

import math

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from privacy.dp import noise
from privacy.dp.noise import LANES, SECURE, SEEDED, WORDS, Noise


def seeded(seed: int = 0) -> Noise:
    return Noise(torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(key=st.binary(min_size=32, max_size=32), counter=st.integers(0, 2**62))
def test_keystream_is_chacha20(key: bytes, counter: int) -> None:
    """Against OpenSSL's, for random keys and counters of 64 bits."""
    words = np.empty(WORDS, np.uint32)
    noise.keystream(np.frombuffer(key, np.uint32), counter, words)
    cipher = Cipher(algorithms.ChaCha20(key, counter.to_bytes(8, "little") + bytes(8)), mode=None)
    if counter % 2**32 < 2**32 - LANES:  # OpenSSL's counter has 32 bits
        expected = np.frombuffer(cipher.encryptor().update(bytes(4 * WORDS)), np.uint32)
        assert np.array_equal(words.reshape(16, LANES).T, expected.reshape(LANES, 16))


def test_deviates_are_standard_normal() -> None:
    x = seeded().normal(torch.empty(2_000_000)).double().numpy()
    assert kstest(x, norm.cdf).pvalue > 1e-3
    assert abs(x.mean()) < 4 / math.sqrt(len(x))
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / len(x))
    for threshold in (3.0, 4.0):
        expected = 2 * norm.sf(threshold) * len(x)
        assert abs((abs(x) > threshold).sum() - expected) < 4 * math.sqrt(expected)


def test_logarithm_and_angles() -> None:
    """Each pair of words by Box and Muller's formula, in float64."""
    words = np.random.default_rng(0).integers(0, 2**32, WORDS, dtype=np.uint32)
    words[:4] = 0, 1, 2**32 - 1, 2**31
    out = np.empty(WORDS, np.float32)
    noise._box_muller(words, out)
    half = WORDS // 2
    radius = np.sqrt(-2 * np.log((words[:half] + 0.5) / 2**32))
    assert np.allclose(np.hypot(out[:half], out[half:]), radius, rtol=2e-6, atol=4e-4)
    angle = words[half:]
    turn = ((angle & 0x3FFFFFFF) / 2**30 - 0.5) * np.pi / 2
    quadrant = np.where(angle >> 30 & 1, np.pi / 2 - turn, -turn) + np.pi * (angle >> 31)
    assert np.allclose(out[:half], radius * np.cos(quadrant), rtol=1e-5, atol=4e-4)
    assert np.allclose(out[half:], radius * np.sin(quadrant), rtol=1e-5, atol=4e-4)


def test_no_deviate_is_given_twice() -> None:
    """Nor does the length of a request matter to those that follow in other requests' blocks."""
    source = seeded()
    parts = [source.normal(torch.empty(n)) for n in (1, WORDS, WORDS + 1, 5)]
    numbers = torch.cat(parts)
    assert len(numbers.unique()) > 0.999 * len(numbers)


def test_a_seed_gives_the_same_noise_and_another_other() -> None:
    a, b, c = (seeded(seed).normal(torch.empty(3000)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert abs(float((a * c).mean())) < 4 / math.sqrt(3000)


def test_without_a_seed_it_is_secure() -> None:
    """Each source has a key of its own, from the operating system."""
    a, b = Noise(), Noise()
    assert (a.origin, seeded().origin) == (SECURE, SEEDED)
    assert not np.array_equal(a._key, b._key)
    x = a.normal(torch.empty(400_000)).double().numpy()
    assert kstest(x, norm.cdf).pvalue > 1e-3


def test_a_repeated_key_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the test above fails when the system's randomness is a constant."""
    monkeypatch.setattr(noise.secrets, "token_bytes", bytes)
    assert np.array_equal(Noise()._key, Noise()._key)
