"""One-pass clipping equals Opacus's hooks and the definition, and its noise is as stated."""

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from scipy.stats import chi2, norm
from torch import Tensor, nn

from privacy.dp import rules
from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.noise import Noise
from privacy.dp.rules import Share
from privacy.errors import ModelError

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
    for part in x.split(piece or len(x)):
        losses(model, part).sum().backward()
        optimizer.accumulate()
    optimizer.clip_and_accumulate()
    return torch.cat([p.summed_grad.flatten() for p in model.parameters()])  # type: ignore[attr-defined]


def sums_opacus(model: nn.Module, x: Tensor, clip: float) -> Tensor:
    """The same by Opacus's own hooks and optimizer."""
    model = copy.deepcopy(model)
    wrapped = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip,
        expected_batch_size=1,
    )
    losses(wrapped, x).sum().backward()
    optimizer.clip_and_accumulate()
    return torch.cat([p.summed_grad.flatten() for p in model.parameters()])  # type: ignore[attr-defined]


def by_definition(model: nn.Module, x: Tensor, clip: float) -> tuple[Tensor, float]:
    """The same, one record at a time; and the sum of the lengths of what was summed."""
    total = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=x.dtype)
    lengths = 0.0
    for record in x.split(1):
        grads = torch.autograd.grad(losses(model, record).sum(), list(model.parameters()))
        flat = torch.cat([g.flatten() for g in grads])
        flat *= min(1.0, clip / (float(flat.norm()) + 1e-6))
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


class Twice(nn.Module):
    """One layer, used twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


@pytest.mark.parametrize("layer", [nn.Embedding(5, 3), nn.BatchNorm1d(3), nn.BatchNorm2d(3)])
def test_unknown_layers_are_refused(layer: nn.Module) -> None:
    """The layer is named, and so is what to use instead; the model stays as it was."""
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(ModelError) as caught:
        one_pass(model)
    text = str(caught.value)
    assert text.startswith(f"layer 1 ({type(layer).__name__}): no per-sample gradient rule")
    assert "use one of Linear, Conv2d, GroupNorm, LayerNorm" in text
    assert all(p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_subclass_is_not_its_parent() -> None:
    """A subclass may compute something else: refused until it registers a rule."""

    class Twisted(nn.Linear):
        pass

    with pytest.raises(ModelError, match=r"\(Twisted\): no per-sample gradient rule"):
        one_pass(Twisted(2, 2))


def test_frozen_layers() -> None:
    """A frozen layer needs no rule and is left alone; one frozen in part is refused."""
    model = nn.Sequential(nn.BatchNorm1d(3).requires_grad_(False).eval(), nn.Linear(3, 2))
    optimizer = one_pass(model)
    assert [id(p) for p in optimizer.params] == [id(p) for p in model[1].parameters()]
    half = nn.Linear(3, 2)
    half.bias.requires_grad_(False)
    with pytest.raises(ModelError, match="frozen in part; freeze all"):
        one_pass(half)


@pytest.mark.parametrize("other", [{"padding": "same"}, {"padding_mode": "circular"}], ids=str)
def test_padding_without_rule(other: dict[str, Any]) -> None:
    """Padding by word or by reflection is refused, with the remedy."""
    model = nn.Conv2d(1, 1, 3, **other)
    optimizer = one_pass(model)
    model(torch.randn(2, 1, 5, 5)).sum().backward()
    with pytest.raises(ModelError, match="give the padding in numbers and pad with zeros"):
        optimizer.accumulate()


def test_a_layer_used_twice_is_refused() -> None:
    """Its two gradients would be clipped apart: refused, not summed."""
    model = Twice()
    optimizer = one_pass(model)
    model(torch.randn(2, 3)).sum().backward()
    with pytest.raises(ModelError, match="used twice in one pass"):
        optimizer.accumulate()


def test_tied_weights_are_refused() -> None:
    """Two layers that share a parameter would have its gradients clipped apart."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    with pytest.raises(ModelError):
        one_pass(model)


class ChangesItsInput(nn.Module):
    """A layer whose input is changed in place after the layer has read it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        y = self.layer(x)
        return y + x.relu_()


def test_inputs_changed_in_place_are_noticed() -> None:
    """As in ordinary backward: an error, or else the right gradient; never silently another."""
    torch.manual_seed(0)
    model, x = ChangesItsInput().double(), randn(4, 3)
    try:
        ours = sums_one_pass(model, x, 1e6)
    except (ModelError, RuntimeError):
        return
    y = model.layer(x) + x.relu()
    target = torch.linspace(-1, 2, 3, dtype=x.dtype)
    grads = torch.autograd.grad((y - target).square().sum(), list(model.parameters()))
    assert torch.allclose(ours, torch.cat([g.flatten() for g in grads]))


def test_activations_in_place() -> None:
    """ReLU(inplace=True) after a layer works, or is refused with a remedy."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()
    assert agree(model, randn(4, 3), 1.0)


def test_detach_gives_the_model_back() -> None:
    """Gradients wanted again, no hooks left, ordinary backward as if nothing had been."""
    torch.manual_seed(0)
    model, x = small_model(), randn(4, 1, 6, 6)
    untouched = copy.deepcopy(model)
    losses(untouched, x).sum().backward()
    optimizer = one_pass(model)
    losses(model, x).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert sum(len(m._forward_hooks) for m in model.modules()) == 4
    optimizer.zero_grad()
    optimizer.detach()
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    losses(model, x).sum().backward()
    for p, q in zip(model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)  # type: ignore[arg-type]
    assert not optimizer._records


def test_no_grad_is_not_tapped() -> None:
    """An ordinary evaluation leaves no records and gives the ordinary output."""
    model, x = small_model(), randn(4, 1, 6, 6)
    expected = model(x).detach()
    optimizer = one_pass(model)
    with torch.no_grad():
        out = model(x)
    assert torch.equal(out, expected)
    assert not out.requires_grad
    assert not optimizer._records
    assert torch.equal(model(x), expected)  # tapped, and still the same


def test_zero_grad_forgets() -> None:
    """Records and sums of an abandoned pass do not reach the next step."""
    model, x = small_model(), randn(4, 1, 6, 6)
    optimizer = one_pass(model)
    losses(model, x).sum().backward()
    optimizer.accumulate()
    losses(model, x).sum().backward()
    optimizer.zero_grad()
    optimizer.clip_and_accumulate()
    assert all(float(p.summed_grad.abs().max()) == 0.0 for p in optimizer._parameters)


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
        noise=Noise(torch.Generator().manual_seed(seed)),
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
    normal = Noise.normal

    def through(change: Callable[[Tensor], Tensor]) -> None:
        monkeypatch.setattr(Noise, "normal", lambda self, out: change(normal(self, out)))

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
