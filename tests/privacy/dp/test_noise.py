"""The noise: normal deviates as digits of any length have them, scaled, and rounded exactly."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare, kstest, norm

from privacy.cipher import LANES, WORDS, Key, keystream
from privacy.dp import noise
from privacy.dp.accounting.spent import TOTAL_VARIATION
from privacy.dp.noise import HALF, MARGIN, PER_CALL, SHORT, Noise, normal


def seeded(seed: int = 0) -> Noise:
    return Noise(Key.of("noise", seed))


def deviates(words: np.ndarray, deviation: float = 1.0) -> np.ndarray:
    """The kernel's, before rounding."""
    uniform, out = np.empty(HALF), np.empty(PER_CALL)
    noise.box_muller(words, deviation, uniform, out)
    return out


def test_deviates_are_standard_normal() -> None:
    deviation = 2.0**22
    x = seeded().integers(deviation, 2_000_000) / deviation
    assert kstest(x, norm.cdf).pvalue > 1e-3
    assert abs(x.mean()) < 4 / math.sqrt(len(x))
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / len(x))
    for threshold in (3.0, 4.0):
        expected = 2 * norm.sf(threshold) * len(x)
        assert abs((abs(x) > threshold).sum() - expected) < 4 * math.sqrt(expected)


@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5])
def test_integers_have_the_rounded_gaussians_law(deviation: float) -> None:
    """P(n) = Phi((n + 1/2) / sigma) - Phi((n - 1/2) / sigma): chi-square over the integers."""
    size = 400_000
    x = seeded(1).integers(deviation, size)
    most = math.ceil(3 * deviation)
    edges = np.arange(-most, most) + 0.5
    expected = np.diff(norm.cdf(np.concatenate([[-np.inf], edges, [np.inf]]) / deviation)) * size
    seen = np.bincount(np.clip(x, -most, most) + most, minlength=2 * most + 1)
    assert chisquare(seen, expected).pvalue > 1e-3


def words_of_all_kinds() -> list[np.ndarray]:
    """Random, and with radii's numbers as near to 0 and to 1 as the kernel's are kept."""
    rng = np.random.default_rng(0)
    lowest, highest = math.log2(SHORT) + 64, 63.0
    small = (2.0 ** rng.uniform(lowest, highest, HALF)).astype(np.uint64)
    radii = [rng.integers(0, 2**64, HALF, dtype=np.uint64), small, ~small]
    angles = rng.integers(0, 2**64, HALF, dtype=np.uint64)
    angles[:8] = [0, 2**61, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 3 * 2**62, 2**64 - 1]
    return [np.concatenate([part, angles]) for part in radii]


@pytest.mark.parametrize("words", words_of_all_kinds())
def test_deviates_are_off_by_less_than_the_margin(words: np.ndarray) -> None:
    """Against 150 digits, by a fourth of the margin; and finer steps cannot move them further."""
    found = deviates(words)
    worst = 0.0
    for i in range(HALF):
        radius, angle = int(words[i]), int(words[HALF + i])
        for less, more in ((0, 0), (0, 2**64 - 1), (2**64 - 1, 0)):  # both ends of a step
            wide = (radius << 64) + less, (angle << 64) + more
            pair = [normal(*wide, 128, which) for which in (0, 1)]
            found_pair = found[[i, HALF + i]]
            worst = max(worst, *(abs(float(a - b)) for a, b in zip(pair, found_pair, strict=True)))
    assert worst < MARGIN / 4


def test_doubtful_roundings_are_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a margin of a fiftieth of a step, one in 25 is; none but those in doubt may change."""
    deviation, size = 1000.0, 20_000
    plain = seeded().integers(deviation, size)
    again = []
    exactly = Noise._exactly

    def noted(self: Noise, i: int, deviation: float) -> int:
        again.append(i)
        return exactly(self, i, deviation)

    monkeypatch.setattr(Noise, "_exactly", noted)
    doubtful = np.empty(size, np.int64)
    out = np.empty(size, np.int64)
    monkeypatch.setattr(noise, "integers", wide_margin(0.02))
    num = noise.integers(Key.of("noise", 0).words(), 0, deviation, out, doubtful)
    assert 0.03 < num / size < 0.05
    assert np.array_equal(out, plain)
    assert np.array_equal(seeded().integers(deviation, size), plain)
    assert again == doubtful[:num].tolist()


def wide_margin(share: float):  # type: ignore[no-untyped-def]
    """The kernel in Python's numbers, in doubt within `share` of a half."""

    def integers(key, counter, deviation, out, doubtful):  # type: ignore[no-untyped-def]
        num = 0
        for start in range(0, len(out), PER_CALL):
            words = np.empty(WORDS, np.uint32)
            keystream(key, counter + start // PER_CALL * LANES, words)
            scaled = deviates(words.view(np.uint64), deviation)[: len(out) - start]
            out[start : start + len(scaled)] = np.rint(scaled)
            (near,) = np.nonzero(abs(abs(scaled - np.rint(scaled)) - 0.5) <= share)
            doubtful[num : num + len(near)] = start + near
            num += len(near)
        return num

    return integers


def test_large_deviations_are_right_to_the_last_digit() -> None:
    """Each draw against 150 digits, where an ulp of float64 is a hundred steps."""
    deviation, size = 2.0**39, 64
    found = seeded(3).integers(deviation, size).tolist()
    source = seeded(3)
    assert found == [source._exactly(i, deviation) for i in range(size)]
    assert len(set(found)) == size


def test_what_a_draw_may_be_off_follows_from_its_bits() -> None:
    """The claimed total variation is that of words so long, and no less."""
    assert 2.0 ** (48 - 64 - 8 * noise.MORE_BYTES) <= TOTAL_VARIATION


def test_no_draw_is_given_twice() -> None:
    """Nor does the length of a request matter to those that follow in other requests' blocks."""
    source = seeded()
    parts = [source.integers(2.0**30, n) for n in (1, PER_CALL, PER_CALL + 1, 5)]
    numbers = np.concatenate(parts)
    assert len(np.unique(numbers)) == len(numbers)


def test_a_key_gives_the_same_noise_and_another_other() -> None:
    a, b, c = (seeded(seed).integers(2.0**20, 3000) / 2.0**20 for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert abs(float((a * c).mean())) < 4 / math.sqrt(3000)


def test_deviations_out_of_range() -> None:
    assert not seeded().integers(0.0, 10).any()
    for wrong in (-1.0, math.nan, math.inf, 2.0**41):
        with pytest.raises(ValueError, match="deviation"):
            seeded().integers(wrong, 10)
