"""One-pass clipping equals Opacus's hooks and the definition, and its noise is as stated."""

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from torch import Tensor, nn

from privacy.dp import rules
from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.rules import Share

many = settings(max_examples=40, deadline=None)


seeds = st.integers(0, 2**31)


def one_pass(model: nn.Module, **others: Any) -> OnePassOptimizer:
    """An optimizer without noise, unless `others` say so."""
    given = {"noise_multiplier": 0.0, "max_grad_norm": 1.0, "expected_batch_size": 1} | others
    return OnePassOptimizer(model, torch.optim.SGD(model.parameters(), lr=1.0), **given)


def losses(model: nn.Module, x: Tensor) -> Tensor:
    """Squares of the outputs against fixed targets, [B]."""
    out = model(x).flatten(1)
    target = torch.linspace(-1, 2, out.shape[1], dtype=out.dtype)
    return (out - target).square().sum(1)


def sums_one_pass(model: nn.Module, x: Tensor, clip: float, piece: int | None = None) -> Tensor:
    """The clipped sums by `OnePassOptimizer`, flat, in the order of `model.parameters()`."""
    model = copy.deepcopy(model)
    optimizer = one_pass(model, max_grad_norm=clip)
    optimizer.limit = clip
    for part in x.split(piece or len(x)):
        losses(model, part).sum().backward()
        optimizer.accumulate()
    optimizer.clip_and_accumulate()
    return torch.cat([p.summed_grad.flatten() for p in model.parameters()])  # type: ignore[attr-defined]


def sums_opacus(model: nn.Module, x: Tensor, clip: float) -> Tensor:
    """The same of the gradients by Opacus's own hooks."""
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
    losses(wrapped, x).sum().backward()
    samples = torch.cat([p.grad_sample.flatten(1) for p in wrapped.parameters()], 1)  # type: ignore[attr-defined]
    factors = (clip / samples.double().norm(dim=1)).clamp(max=1.0)
    return factors @ samples.double()


def by_definition(model: nn.Module, x: Tensor, clip: float) -> tuple[Tensor, float]:
    """The same, one record at a time; and the sum of the lengths of what was summed."""
    total = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=x.dtype)
    lengths = 0.0
    for record in x.split(1):
        grads = torch.autograd.grad(losses(model, record).sum(), list(model.parameters()))
        flat = torch.cat([g.flatten() for g in grads])
        flat *= min(1.0, clip / max(float(flat.norm()), 1e-300))
        total += flat
        lengths += float(flat.norm())
    return total, lengths


def agree(model: nn.Module, x: Tensor, clip: float, tolerance: float = 1e-6) -> bool:
    """Does the one pass give the clipped sum of Opacus and, in float64, of the definition?

    Distances are relative to the records' shares, which may cancel in the sum. In float32 a record
    by itself is not rounded as it is in a batch, so that there the definition is no measure.
    """
    ours = sums_one_pass(model, x, clip)
    expected, lengths = by_definition(model, x, clip)
    bound = tolerance * (lengths + 1e-9)
    return float((ours - sums_opacus(model, x, clip)).norm()) <= bound and (
        x.dtype != torch.float64 or float((ours - expected).norm()) <= bound
    )


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Records of very different sizes, so that some are clipped and some are not."""
    sizes = torch.logspace(-2, 1, shape[0], dtype=dtype).reshape(-1, *[1] * (len(shape) - 1))
    return torch.randn(*shape, dtype=dtype) * sizes


clips = st.sampled_from([1e-3, 0.5, 1.0, 5.0, 1e6])


activations = st.sampled_from([nn.ReLU, nn.Tanh])


pairs = st.tuples


@st.composite
def mlps(draw: st.DrawFn) -> tuple[nn.Module, int]:
    """A multilayer perceptron and the width of its input."""
    widths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=4))
    torch.manual_seed(draw(seeds))
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow, bias=draw(st.booleans())), draw(activations)()]
    return nn.Sequential(*layers[:-1]), widths[0]


@many
@given(mlp=mlps(), batch=st.integers(1, 8), clip=clips)
def test_dense(mlp: tuple[nn.Module, int], batch: int, clip: float) -> None:
    """Dense layers, with and without bias: as Opacus in float64 to 1e-6, in float32 to 1e-5."""
    model, width = mlp
    x = randn(batch, width)
    assert agree(model.double(), x, clip)
    assert agree(model.float(), x.float(), clip, tolerance=1e-5)


@many
@given(
    groups=st.integers(1, 3),
    channels=pairs(st.integers(1, 3), st.integers(1, 3)),
    kernel=pairs(st.integers(1, 3), st.integers(1, 3)),
    stride=pairs(st.integers(1, 3), st.integers(1, 3)),
    padding=pairs(st.integers(0, 2), st.integers(0, 2)),
    dilation=pairs(st.integers(1, 2), st.integers(1, 2)),
    size=pairs(st.integers(5, 8), st.integers(5, 8)),
    bias=st.booleans(),
    clip=clips,
    seed=seeds,
)
def test_convolution(
    groups: int,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, int],
    bias: bool,
    clip: float,
    seed: int,
) -> None:
    """Convolutions of every geometry, below another one and a dense layer."""
    torch.manual_seed(seed)
    i, o = groups * channels[0], groups * channels[1]
    model = nn.Sequential(
        nn.Conv2d(2, i, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(i, o, kernel, stride, padding, dilation, groups, bias),
        nn.Tanh(),
        nn.Flatten(),
    ).double()
    x = randn(4, 2, *size)
    model.append(nn.Linear(model(x).shape[1], 3).double())
    assert agree(model, x, clip)


@many
@given(
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    sequence=st.lists(st.integers(1, 3), max_size=2),
    deep=st.booleans(),
    clip=clips,
    seed=seeds,
)
def test_normalisation(
    groups: int, channels: int, sequence: list[int], deep: bool, clip: float, seed: int
) -> None:
    """GroupNorm and LayerNorm with weights of their own, over images, vectors and sequences."""
    torch.manual_seed(seed)
    wide = groups * channels
    image = nn.Sequential(
        nn.Conv2d(2, wide, 3), nn.GroupNorm(groups, wide), nn.Tanh(), nn.Conv2d(wide, 2, 2)
    )
    shape = [*sequence, wide + 1]
    over = shape if deep else shape[-1:]
    dense = nn.Sequential(
        nn.Linear(3, wide + 1), nn.LayerNorm(over), nn.Tanh(), nn.Linear(wide + 1, 2)
    )
    for model in (image, dense):
        for layer in model:
            if isinstance(layer, nn.GroupNorm | nn.LayerNorm):
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    assert agree(image.double(), randn(4, 2, 5, 6), clip)
    assert agree(dense.double(), randn(4, *sequence, 3), clip)


@many
@given(
    positions=st.lists(st.integers(1, 4), min_size=1, max_size=2), bias=st.booleans(), seed=seeds
)
def test_sequences(positions: list[int], bias: bool, seed: int) -> None:
    """A dense layer over the positions of a sequence clips records, not positions."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4, bias), nn.Tanh(), nn.Linear(4, 2, bias)).double()
    assert agree(model, randn(5, *positions, 3), 1.0)


def small_model() -> nn.Sequential:
    """A convolution, a norm and two dense layers, in float64; input [B, 1, 6, 6]."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5),
        nn.Tanh(),
        nn.Linear(5, 3),
    ).double()


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 12), piece=st.integers(1, 12), seed=seeds)
def test_pieces_add_up(batch: int, piece: int, seed: int) -> None:
    """A batch walked through in pieces of any size gives the sum of the whole."""
    torch.manual_seed(seed)
    model, x = small_model(), randn(batch, 1, 6, 6)
    whole = sums_one_pass(model, x, 1.0)
    assert float((sums_one_pass(model, x, 1.0, piece) - whole).norm()) <= 1e-9


def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: a norm that leaves the bias out, or a clip by layer, does not agree."""
    torch.manual_seed(0)
    model, x = small_model(), randn(6, 1, 6, 6)
    linear = rules.RULES[nn.Linear]
    assert agree(model, x, 1.0)

    def without_bias(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
        share = linear(layer, x, g)
        return share._replace(squared_norms=share.squared_norms - g.square().sum(1))

    def by_layer(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
        share = linear(layer, x, g)
        c_B = (1 / share.squared_norms.sqrt()).clamp(max=1)
        return Share(torch.zeros_like(c_B), lambda _: share.weighted_sum(c_B))

    for wrong in (without_bias, by_layer):
        monkeypatch.setitem(rules.RULES, nn.Linear, wrong)
        assert not agree(model, x, 1.0)


def test_the_empty_batch() -> None:
    """No record at all: the sum is zero, the noise is there all the same."""
    for sigma in (0.0, 3.0):
        model = nn.Linear(200, 100)
        optimizer = one_pass(model, noise_multiplier=sigma, expected_batch_size=2)
        optimizer.zero_grad()
        optimizer.step()
        assert float(model.weight.summed_grad.abs().max()) == 0.0  # type: ignore[attr-defined]
        assert model.weight.grad is not None
        assert float(model.weight.grad.std()) == pytest.approx(sigma / 2, rel=0.05)
