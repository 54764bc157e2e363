"""The release: whole numbers of a public step; all that rounding adds stays within the clip."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clients.layers import Residual
from privacy.cipher import Key
from privacy.dp import grid, optimizer
from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.compiled import Program
from privacy.dp.grid import Grid, sum_share
from privacy.dp.noise import Noise

SIGMA = 1.0


@given(clip=st.floats(1e-6, 1e6), size=st.integers(1, 10**8))
def test_the_step_is_fine_enough(clip: float, size: int) -> None:
    """Rounding moves two neighbours' sums apart by 2^-14 of the clip at most, not by 2^-16."""
    found = Grid.of(clip, size)
    assert 2**-16 < found.share <= 2**-14
    assert math.frexp(found.step / clip)[0] in (0.5, 0.5 - 2**-53)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), sigma=st.sampled_from([0.0, 0.3, 5.0]))
def test_a_release_is_the_rounded_sum_and_whole_noise(seed: int, sigma: float) -> None:
    """To the last bit of float64, whatever the sum's own bits are."""
    total = np.random.default_rng(seed).normal(size=700) * 10
    found = Grid.of(1.0, len(total))
    out = np.empty_like(total)
    found.noisy(total, sigma, Noise(Key.of(seed)), out)
    noise = Noise(Key.of(seed)).integers(sigma / found.step, len(total))
    assert np.array_equal(out / found.step, np.rint(total / found.step) + noise)


def released(total: float, seed: int, trials: int = 2000) -> np.ndarray:
    """Low bits of releases of one and the same sum, as float32 gives them away."""
    model = nn.Linear(trials, 1, bias=False)
    one = OnePassOptimizer(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=SIGMA,
        max_grad_norm=1.0,
        expected_batch_size=1,
        noise=Noise(Key.of(seed)),
    )
    one.zero_grad()
    one._total.fill_(total)
    one.add_noise()
    return one._noisy.double().numpy()


def tells_the_sum(releases: np.ndarray, total: float, step: float) -> bool:
    """Are all releases the sum and a multiple of the step? Another sum is then ruled out."""
    return bool((np.rint((releases - total) / step) * step + total == releases).all())


def test_low_bits_do_not_tell_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases of two sums less than half a step apart are the same; twin: without a grid, not."""
    step = Grid.of(1.0, 2000).step
    a, b = 100 * step, 100 * step + 0.4 * step
    assert np.array_equal(released(a, 1), released(b, 1))
    assert tells_the_sum(released(a, 1), 0.0, step)
    assert tells_the_sum(released(b, 2), 0.0, step)

    def ungridded(self: Grid, total: Any, sigma: float, noise: Noise, out: Any) -> None:
        z = noise.integers(2.0**40, self.size) / 2.0**40
        out[:] = total + sigma * self.clip * z

    monkeypatch.setattr(Grid, "noisy", ungridded)
    assert not np.array_equal(released(a, 1), released(b, 1))
    assert not tells_the_sum(released(a, 1), 0.0, step)


# One record more, at each place of the batch


KINDS = ["dense", "conv", "separable", "residual", "sequence"]


def nets(kind: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    torch.manual_seed(0)
    if kind == "dense":
        return nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 4)), (40,)
    if kind == "conv":
        conv = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 4)]
        return nn.Sequential(*conv), (1, 6, 6)
    if kind == "separable":
        each = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.GroupNorm(2, 4), nn.ReLU()
        layers = nn.Conv2d(1, 4, 2), *each, nn.Conv2d(4, 4, 1), nn.AvgPool2d(5)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 4)), (1, 6, 6)
    if kind == "residual":
        body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.GroupNorm(1, 2))
        layers = Residual(body, nn.Identity()), nn.ReLU(), nn.MaxPool2d(2)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * 9, 4)), (2, 6, 6)
    layers = nn.Conv1d(4, 6, 3, groups=2), nn.Tanh(), nn.MaxPool1d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(6 * 4, 4)), (4, 10)


def clipped_sum(
    kind: str, engine: str, x: torch.Tensor, y: torch.Tensor, clip: float, weight: float = 1.0
) -> tuple[torch.Tensor, float]:
    """The sum on the way that ships, and what a record may add to it before it is rounded."""
    model, shape = nets(kind)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(weight)
    program = Program.of(model, shape) if engine == "compiled" else None
    trained = [program.flat] if program else list(model.parameters())
    one = OnePassOptimizer(
        program or model,
        torch.optim.SGD(trained, lr=1.0),
        noise_multiplier=SIGMA,
        max_grad_norm=clip,
        expected_batch_size=len(x),
    )
    for part_x, part_y in zip(x.split(256), y.split(256), strict=True):
        if program:
            one.accumulate_compiled(part_x, part_y)
        else:
            nn.functional.cross_entropy(model(part_x), part_y, reduction="sum").backward()
            one.accumulate(len(part_x))
    return one._total.clone(), one.limit


def farthest(kind: str, engine: str, seed: int, num: int, scale: float, clip: float) -> float:
    """The greatest influence of one record, over its places in the batch, in clips."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(num, *nets(kind)[1], generator=g) * scale
    y = torch.randint(4, (num,), generator=g)
    whole, _ = clipped_sum(kind, engine, x, y, clip)
    worst = 0.0
    for place in {0, 1, num // 2, num - 2, num - 1}:
        kept = torch.arange(num) != place
        less, _ = clipped_sum(kind, engine, x[kept], y[kept], clip)
        worst = max(worst, float((whole - less).norm()) / clip)
    return worst


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    engine=st.sampled_from(["compiled", "onepass"]),
    seed=st.integers(0, 2**31),
    num=st.sampled_from([2, 17, 300]),
    scale=st.sampled_from([1e-20, 1.0, 1e4, 1e18]),
    clip=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_one_record_more_moves_the_sum_by_the_clip(
    kind: str, engine: str, seed: int, num: int, scale: float, clip: float
) -> None:
    assert farthest(kind, engine, seed, num, scale, clip) <= 1 + 1e-6


@pytest.mark.parametrize("engine", ["compiled", "onepass"])
@pytest.mark.parametrize("weight", [1e-30, 1e-22, 1e-8, 1e15])
def test_chosen_weights_do_not_let_a_gradient_pass(engine: str, weight: float) -> None:
    """Where squares in float32 vanish: inputs are huge and what comes back is tiny."""
    x, y = torch.full((3, 40), 1e25), torch.tensor([0, 1, 2])
    total, limit = clipped_sum("dense", engine, x, y, 1.0, weight)
    assert float(total.norm()) <= 3 * limit * (1 + 1e-6)
    alone, limit = clipped_sum("dense", engine, x[:1], y[:1], 1.0, weight)
    assert float(alone.norm()) <= limit * (1 + 1e-6)


def test_the_shares_of_rounding_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is clipped to the clip less both shares; blocks shrink before sums get coarse."""
    model, shape = nets("dense")
    program = Program.of(model, shape)
    assert program is not None
    blocks = []
    for expected in (64, 4096, 10**6):
        share = program.hold_sums(expected)
        blocks.append(program._block)
        assert share == sum_share(expected, program._block) <= 2**-6 or program._block == 1
    assert blocks == sorted(blocks, reverse=True)
    _, limit = clipped_sum("dense", "compiled", torch.zeros(64, 40), torch.zeros(64).long(), 2.0)
    counted = Grid.of(2.0, 40 * 30 + 30 + 30 * 4 + 4).share + sum_share(64, blocks[0])
    assert limit == pytest.approx(2.0 * (1 - counted), abs=1e-11)


def test_sums_of_blocks_are_as_near_as_is_counted() -> None:
    """Alike records, whose roundings add up: float32's sum of a block against float64's."""
    x = torch.full((256, 40), 0.1)
    total, limit = clipped_sum("dense", "compiled", x, torch.zeros(256).long(), 1.0)
    exact, _ = clipped_sum("dense", "onepass", x, torch.zeros(256).long(), 1.0)
    assert float((total / limit - exact / exact.norm() * 256).norm()) < sum_share(256, 256)
    assert (grid.SHARE_BITS, optimizer.CHECKED) == (14, 1 - 2.0**-40)
