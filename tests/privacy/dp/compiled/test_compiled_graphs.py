"""Nets with branches, sequences, groups and norms: the compiled step against Opacus's hooks."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clients.layers import AddChannel, MaxPool2d, Residual, Square
from privacy.dp.compiled import Program, program
from privacy.dp.kernels.plan import IN, IN_GRAD, OUT, OUT_GRAD

many = settings(max_examples=40, deadline=None)
CLASSES = 3


def conv(draw: Any, inputs: int, outputs: int, is_sequence: bool, keep: bool = False) -> nn.Module:
    """A convolution of any kind; `keep`: its outputs have the inputs' size."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    sides = 1 if is_sequence else 2
    if keep:
        kernel = tuple(draw(st.sampled_from([1, 3, 5])) for _ in range(sides))
        stride, padding = (1,) * sides, tuple(k // 2 for k in kernel)
    else:
        kernel, stride = (tuple(number(1, most) for _ in range(sides)) for most in (4, 3))
        padding = tuple(number(0, 2) for _ in range(sides))
    groups = draw(st.sampled_from([g for g in (1, 2, 4, 8) if not inputs % g and not outputs % g]))
    kind: Any = nn.Conv1d if is_sequence else nn.Conv2d
    bias = draw(st.booleans())
    return kind(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)  # type: ignore[no-any-return]


def unit(
    draw: Any, inputs: int, outputs: int, is_sequence: bool, keep: bool = False
) -> list[nn.Module]:
    """A convolution, and perhaps a norm and a function of each element."""
    layers = [conv(draw, inputs, outputs, is_sequence, keep)]
    if draw(st.booleans()):
        groups = draw(st.sampled_from([g for g in (1, 2, 4) if not outputs % g]))
        affine = draw(st.booleans())  # of two numbers the default eps leaves only rounding
        layers.append(nn.GroupNorm(groups, outputs, eps=0.01, affine=affine))
        for p in layers[-1].parameters():
            nn.init.normal_(p, 1.0, 0.3)
    return [*layers, draw(st.sampled_from([nn.ReLU, nn.Tanh, Square, nn.Identity]))()]


def pooling(draw: Any, is_sequence: bool) -> nn.Module:
    kinds: list[Any] = [nn.AvgPool1d, nn.MaxPool1d] if is_sequence else [nn.AvgPool2d, nn.MaxPool2d]
    kernel, stride = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return draw(st.sampled_from(kinds))(kernel, stride)  # type: ignore[no-any-return]


@st.composite
def nets(draw: Any) -> tuple[nn.Sequential, tuple[int, ...]]:
    """A net of random layers, and the shape of its inputs."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    is_sequence = draw(st.booleans())
    widths = st.sampled_from([2, 3, 4, 8])
    channels = draw(widths)
    shape = (channels, *(draw(st.integers(6, 9)) for _ in range(1 if is_sequence else 2)))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        outputs = draw(widths)
        kind = draw(st.sampled_from(["plain", "identity", "projected", "pooled"]))
        if kind == "identity":  # its last layer has the shape of its input
            body = unit(draw, channels, outputs, is_sequence, keep=True)
            body += unit(draw, outputs, channels, is_sequence, keep=True)
            if draw(st.booleans()):
                body.insert(0, nn.ReLU())  # which must not be taken in place
            layers.append(Residual(nn.Sequential(*body), nn.Identity()))
        elif kind == "projected":
            body = unit(draw, channels, outputs, is_sequence, keep=True)
            shortcut = nn.Sequential(conv(draw, channels, outputs, is_sequence, keep=True))
            layers.append(Residual(nn.Sequential(*body), shortcut))
            channels = outputs
        else:
            layers.append(nn.Sequential(*unit(draw, channels, outputs, is_sequence)))
            channels = outputs
            if kind == "pooled":
                layers.append(pooling(draw, is_sequence))
        if draw(st.booleans()):
            layers.append(nn.ReLU())
        try:
            left = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[2:]
        except (RuntimeError, ValueError):  # nothing is left to be pooled, or one number for a norm
            left = (0,)
        if min(left) < 1:
            layers, channels = [], shape[0]
    layers += unit(draw, channels, channels, is_sequence, keep=True)[:1]  # never without weights
    if draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool1d(1) if is_sequence else nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    width = int(nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1])
    return nn.Sequential(*layers, nn.Linear(width, CLASSES)), shape


def data(shape: tuple[int, ...], num: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(num, *shape, generator=g), torch.randint(CLASSES, (num,), generator=g)


def samples_opacus(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by Opacus's hooks, in float64, and outputs."""
    wrapped = GradSampleModule(copy.deepcopy(model).double(), loss_reduction="sum")
    outputs = wrapped(x.double())
    cross_entropy(outputs, y, reduction="sum").backward()
    samples = [p.grad_sample.flatten(1) for p in wrapped.parameters()]  # type: ignore[attr-defined]
    return torch.cat(samples, 1), outputs.detach()


def sums_compiled(net: Program, x: Tensor, y: Tensor, clip: float) -> Tensor:
    total = torch.zeros(len(net.flat), dtype=torch.float64)
    net.add_clipped_sum(x, y, clip, total)
    return total


def require_equal(model: nn.Module, x: Tensor, y: Tensor, clip: float) -> None:
    """Outputs and clipped sums, ours and Opacus's."""
    samples, outputs = samples_opacus(model, x, y)
    factors = (clip / samples.norm(dim=1)).clamp(max=1.0)
    ours = Program.of(model, tuple(x.shape[1:]))
    assert ours is not None
    assert [p.shape for p in ours.parameters] == [p.shape for p in model.parameters()]
    assert torch.allclose(ours.logits(x).double(), outputs, rtol=1e-4, atol=1e-4)
    gap = float((sums_compiled(ours, x, y, clip) - factors @ samples).norm())
    assert gap <= 1e-5 * float((factors * samples.norm(dim=1)).sum()) + 1e-12


@many
@given(
    net=nets(),
    num=st.integers(1, 20),
    seed=st.integers(0, 2**31),
    clip=st.sampled_from([1e-2, 1.0, 1e3]),
    workspace=st.sampled_from([1, 1 << 20]),
)
def test_sums_and_outputs_equal_those_of_opacus(
    net: Any, num: int, seed: int, clip: float, workspace: int
) -> None:
    """Whether records are taken one by one or together."""
    model, shape = net
    x, y = data(shape, num, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "WORKSPACE", workspace)
        require_equal(model, x, y, clip)


def ds_cnn() -> tuple[nn.Sequential, tuple[int, ...]]:
    """Small, after MLPerf Tiny's."""
    layers: list[nn.Module] = [AddChannel(), nn.Conv2d(1, 8, (10, 4), 2, (5, 1))]
    for _ in range(2):
        layers += [nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.GroupNorm(2, 8), nn.ReLU()]
        layers += [nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8), nn.ReLU()]
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    return nn.Sequential(*layers, *tail), (25, 10)


def resnet() -> tuple[nn.Sequential, tuple[int, ...]]:
    def body(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        rest = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.GroupNorm(2, outputs)
        return nn.Sequential(first, nn.GroupNorm(2, outputs), nn.ReLU(), *rest)

    shortcut = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.GroupNorm(2, 8))
    layers = (
        nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.GroupNorm(2, 4), nn.ReLU()),
        *(Residual(body(4, 4, 1), nn.Identity()), nn.ReLU()),
        *(Residual(body(4, 8, 2), shortcut), nn.ReLU(), MaxPool2d(3, 1)),
    )
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 2 * 2, CLASSES)), (3, 8, 8)


def cnn1d() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = (nn.Conv1d(6, 8, 5, 2, 2), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool1d(2))
    tail = (nn.Conv1d(8, 8, 3, groups=2), nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return nn.Sequential(*layers, *tail, nn.Linear(8, CLASSES)), (6, 32)


def plain() -> tuple[nn.Sequential, tuple[int, ...]]:
    """Its layers are known on images that lie channel after channel."""
    body = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.ReLU())
    layers = (Residual(body, nn.Identity()), nn.Conv2d(2, 2, 2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(2 * 7 * 7, CLASSES)), (2, 8, 8)


def preactivated() -> tuple[nn.Sequential, tuple[int, ...]]:
    """The shortcut wants what the body's first layer would like to take in place."""
    body = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4))
    first = (nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), Residual(body, nn.Identity()), nn.ReLU())
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(4 * 4 * 4, CLASSES)), (2, 6, 6)


NETS = {
    "ds_cnn": ds_cnn,
    "resnet": resnet,
    "cnn1d": cnn1d,
    "plain": plain,
    "preactivated": preactivated,
}


@pytest.mark.parametrize("name", NETS)
def test_named_nets_equal_those_of_opacus(name: str) -> None:
    torch.manual_seed(0)
    model, shape = NETS[name]()
    require_equal(model, *data(shape, 12, 0), 1.0)


def sensitivity(name: str, scale: float, clip: float = 0.5, clipped: bool = True) -> float:
    """How far one record of size `scale` moves the clipped sum, in units of the clip."""
    torch.manual_seed(0)
    model, shape = NETS[name]()
    ours = Program.of(model, shape)
    assert ours is not None
    x, y = data(shape, 12, 0)
    x[0] *= scale
    limit = clip if clipped else math.inf
    moved = sums_compiled(ours, x, y, limit) - sums_compiled(ours, x[1:], y[1:], limit)
    return float(moved.norm()) / clip


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 1e12])
@pytest.mark.parametrize("name", NETS)
def test_sensitivity_is_bounded(name: str, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are taken one by one: no sum is in float32."""
    monkeypatch.setattr(program, "WORKSPACE", 1)
    assert sensitivity(name, scale) <= 1 + 1e-6


@pytest.mark.parametrize("name", NETS)
def test_a_missing_clip_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: without it the same record moves the sum by more."""
    monkeypatch.setattr(program, "WORKSPACE", 1)
    assert sensitivity(name, 1.0, 1e-2, clipped=False) > 10


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", NETS)
def test_a_record_without_a_finite_gradient_adds_nothing(name: str, value: float) -> None:
    torch.manual_seed(0)
    model, shape = NETS[name]()
    ours = Program.of(model, shape)
    assert ours is not None
    x, y = data(shape, 8, 0)
    x[3].view(-1)[40] = value
    rest = torch.arange(8) != 3
    moved = sums_compiled(ours, x, y, 1.0) - sums_compiled(ours, x[rest], y[rest], 1.0)
    assert float(moved.norm()) <= 1e-5


@pytest.mark.parametrize("name", ["ds_cnn", "resnet", "cnn1d"])
def test_gradients_stand_where_none_is_wanted(name: str) -> None:
    """At most those of some values at a time, and never of an operation's inputs and outputs."""
    model, shape = NETS[name]()
    ours = Program.of(model, shape)
    assert ours is not None
    assert ours._sizes.grads < ours._sizes.values / 2
    for row in ours._plan[1:]:
        assert (row[IN_GRAD] == row[OUT_GRAD]) == (row[IN] == row[OUT])


class Doubled(Residual):
    """Another layer than its parent."""


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([Residual(nn.Sequential(nn.Conv2d(2, 3, 1)), nn.Identity())], (2, 3, 3)),
        ([Residual(nn.Sequential(nn.Conv2d(2, 1, 1)), nn.Identity())], (2, 3, 3)),
        ([Residual(nn.Sequential(nn.Conv2d(2, 2, 2)), nn.Identity())], (2, 3, 3)),
        ([Residual(nn.Sequential(nn.BatchNorm2d(2)), nn.Identity())], (2, 3, 3)),
        ([Doubled(nn.Sequential(nn.Conv2d(2, 2, 1)), nn.Identity())], (2, 3, 3)),
        ([nn.Conv1d(2, 2, 2, dilation=2)], (2, 9)),
        ([nn.Conv1d(2, 2, 3, padding="same")], (2, 9)),
        ([nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular")], (2, 9)),
        ([nn.Conv1d(3, 2, 3)], (2, 9)),
        ([nn.Conv1d(2, 2, 3)], (2, 9, 9)),
        ([nn.Conv1d(2, 2, 10)], (2, 9)),
        ([nn.Conv2d(2, 2, 3)], (9, 9)),
        ([nn.GroupNorm(2, 2)], (4, 9)),
        ([nn.MaxPool1d(2, padding=1)], (2, 9)),
        ([nn.MaxPool1d(2, dilation=2)], (2, 9)),
        ([nn.MaxPool1d(2, ceil_mode=True)], (2, 9)),
        ([nn.AvgPool1d(2, padding=1)], (2, 9)),
        ([nn.AdaptiveAvgPool1d(2)], (2, 9)),
        ([nn.AdaptiveAvgPool2d((None, 1))], (2, 9, 9)),
    ],
)
def test_other_layers_have_no_program(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    """They train through the taps. The head would have any number of inputs."""
    outputs = nn.Sequential(*layers, nn.Flatten())
    widths = {*range(1, 40), math.prod(shape)}
    assert not [w for w in widths if Program.of(outputs.append(nn.Linear(w, 3)), shape)]


def test_a_layer_used_twice_has_no_program() -> None:
    shared = nn.Conv2d(2, 2, 3, padding=1)
    block = Residual(nn.Sequential(shared), nn.Sequential(shared))
    assert Program.of(nn.Sequential(block, nn.Flatten(), nn.Linear(18, 3)), (2, 3, 3)) is None


def test_weights_of_a_program_are_the_nets() -> None:
    """Whatever layout the kernels want: the state keeps names and shapes, and is trained."""
    model, shape = resnet()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ours = Program.of(model, shape)
    assert ours is not None
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    x, _ = data(shape, 3, 0)
    with torch.no_grad():
        ours.flat.mul_(1.1)
        assert torch.allclose(ours.logits(x), model(x), atol=1e-5)
        assert not torch.equal(model.state_dict()["0.0.weight"], before["0.0.weight"])
