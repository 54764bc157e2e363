"""The compiled step against Opacus's hooks and the definition, on random nets of known layers."""

import copy
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clients.layers import AddChannel, MaxPool2d, Square
from clients.models import Model
from clients.protocol import Form
from clients.training.net import Net, build
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.compiled import Program, program
from privacy.dp.ledger import Ledger
from privacy.dp.training import privatize
from privacy.errors import ModelError

many = settings(max_examples=40, deadline=None)
ACTIVATIONS = [nn.ReLU, nn.Tanh, Square, nn.Identity]
CLASSES = 4


@st.composite
def nets(draw: Any) -> tuple[nn.Sequential, tuple[int, ...]]:
    """A net of random layers, and the shape of its inputs."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    bias, activation = draw(st.booleans()), lambda: draw(st.sampled_from(ACTIVATIONS))()
    shape: tuple[int, ...] = (number(14, 18), number(14, 18))
    layers: list[nn.Module] = []
    if draw(st.booleans()):
        layers.append(AddChannel())
        channels = 1
        for _ in range(number(1, 2)):
            kernel, out = (number(1, 4), number(1, 4)), number(1, 5)
            stride, padding = (number(1, 2), number(1, 2)), (number(0, 2), number(0, 2))
            layers.append(nn.Conv2d(channels, out, kernel, stride, padding, bias=bias))
            layers.append(activation())
            channels = out
        if draw(st.booleans()):
            layers.insert(draw(st.sampled_from([1, len(layers)])), MaxPool2d(2, 1))
    if draw(st.booleans()):  # of pixels, or of channels behind weights
        window = (number(1, 3), number(1, 3))
        layers.insert(draw(st.sampled_from([0, len(layers)])), nn.AvgPool2d(window))
    layers.append(nn.Flatten())
    width = int(nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1])
    for _ in range(number(0, 2)):
        out = number(1, 20)
        layers += [nn.Linear(width, out, bias=bias), activation()]
        width = out
    return nn.Sequential(*layers, nn.Linear(width, CLASSES)), shape


def data(shape: tuple[int, ...], num: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(num, *shape, generator=g), torch.randint(CLASSES, (num,), generator=g)


def sums_compiled(model: nn.Module, x: Tensor, y: Tensor, clip: float) -> Tensor:
    program = Program.of(copy.deepcopy(model), tuple(x.shape[1:]))
    assert program is not None
    total = torch.zeros(len(program.flat), dtype=torch.float64)
    program.add_clipped_sum(x, y, clip, total)
    return total


def sums_opacus(model: nn.Module, x: Tensor, y: Tensor, clip: float) -> Tensor:
    """Of the gradients by Opacus's hooks, in float64."""
    wrapped = GradSampleModule(copy.deepcopy(model).double(), loss_reduction="sum")
    cross_entropy(wrapped(x.double()), y, reduction="sum").backward()
    samples = torch.cat([p.grad_sample.flatten(1) for p in wrapped.parameters()], 1)  # type: ignore[attr-defined]
    return (clip / samples.norm(dim=1)).clamp(max=1.0) @ samples


def length(model: nn.Module, x: Tensor, y: Tensor, clip: float) -> float:
    """The sum of the lengths of the clipped gradients: rounding is relative to it."""
    return sum(
        float(sums_opacus(model, x[i : i + 1], y[i : i + 1], clip).norm()) for i in range(len(x))
    )


@many
@given(
    net=nets(),
    num=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    clip=st.sampled_from([1e-2, 1.0, 1e3]),
)
def test_clipped_sums_equal_those_of_opacus(net: Any, num: int, seed: int, clip: float) -> None:
    model, shape = net
    x, y = data(shape, num, seed)
    gap = float((sums_compiled(model, x, y, clip) - sums_opacus(model, x, y, clip)).norm())
    assert gap <= 1e-6 * length(model, x, y, clip) + 1e-12


@many
@given(net=nets(), num=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_outputs_and_losses(net: Any, num: int, seed: int) -> None:
    model, shape = net
    x, y = data(shape, num, seed)
    program = Program.of(model, shape)
    assert program is not None
    outputs = program.logits(x)
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(x.double())
    assert torch.allclose(outputs.double(), expected, rtol=1e-4, atol=1e-5)
    loss = program.add_clipped_sum(x, y, 1.0, torch.zeros(len(program.flat), dtype=torch.float64))
    assert loss == pytest.approx(float(cross_entropy(expected, y, reduction="sum")), rel=1e-4)


@pytest.mark.parametrize("workspace", [1, 1 << 16, 1 << 24])
def test_blocks_do_not_matter(workspace: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One record at a time, some, or all."""
    torch.manual_seed(0)
    model = build(Model(name="convnet"), Form((28, 28), CLASSES))
    x, y = data((28, 28), 30, 1)
    whole = sums_compiled(model, x, y, 1.0)
    monkeypatch.setattr(program, "WORKSPACE", workspace)
    assert float((sums_compiled(model, x, y, 1.0) - whole).norm()) <= 1e-6 * 30


@pytest.mark.parametrize("name", ["perceptron", "convnet", "scatter", "strided"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "square"])
def test_the_models_own_nets_are_compiled(name: str, activation: str) -> None:
    model = build(Model(name=name, activation=activation), Form((28, 28), CLASSES))
    shape = (3969,) if name == "scatter" else (28, 28)
    x, y = data(shape, 5, 0)
    gap = sums_compiled(model, x, y, 1.0) - sums_opacus(model, x, y, 1.0)
    assert float(gap.norm()) <= 1e-6 * length(model, x, y, 1.0)


@pytest.mark.parametrize("name", ["perceptron", "convnet", "strided"])
def test_pooled_pixels_are_compiled(name: str) -> None:
    """[model] pool, of the ready experiments for encrypted inference."""
    model = build(Model(name=name, activation="square", pool=2, kernel=4), Form((28, 28), CLASSES))
    x, y = data((28, 28), 5, 0)
    gap = sums_compiled(model, x, y, 1.0) - sums_opacus(model, x, y, 1.0)
    assert float(gap.norm()) <= 1e-6 * length(model, x, y, 1.0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e30])
def test_a_record_without_a_finite_gradient_adds_nothing(value: float) -> None:
    for name in ("convnet", "perceptron"):
        torch.manual_seed(0)
        model = build(Model(name=name), Form((28, 28), CLASSES))
        x, y = data((28, 28), 8, 0)
        x[3, 5, 5] = value
        rest = torch.arange(8) != 3
        total = sums_compiled(model, x, y, 1.0)
        expected = sums_compiled(model, x[rest], y[rest], 1.0)
        assert float((total - expected).norm()) <= (1.0 if value == 1e30 else 1e-5)


def sensitivity(model: nn.Module, scale: float) -> float:
    """How far one record of size `scale` moves the clipped sum, in units of the clip."""
    x, y = data((28, 28), 20, 0)
    x[0] *= scale
    moved = sums_compiled(model, x, y, 0.5) - sums_compiled(model, x[1:], y[1:], 0.5)
    return float(moved.norm()) / 0.5


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("name", ["convnet", "perceptron"])
def test_sensitivity_is_bounded(name: str, scale: float) -> None:
    torch.manual_seed(0)
    assert sensitivity(build(Model(name=name), Form((28, 28), CLASSES)), scale) <= 1 + 1e-4


def test_a_missing_clip_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: without the clip the same record moves the sum by more."""
    honest = Program.add_clipped_sum
    monkeypatch.setattr(
        Program,
        "add_clipped_sum",
        lambda self, x, y, clip, total, *loss: honest(self, x, y, math.inf, total, *loss),
    )
    torch.manual_seed(0)
    assert sensitivity(build(Model(name="convnet"), Form((28, 28), CLASSES)), 1e3) > 10


def steps(per_sample: str, sigma: float = 0.0, num: int = 5) -> tuple[Tensor, Ledger]:
    """The weights after some steps of `classify`, and the ledger."""
    torch.manual_seed(0)
    model = build(Model(name="convnet"), Form((28, 28), CLASSES))
    x, y = data((28, 28), 40, 0)
    net = Net(model, (28, 28), compiled=per_sample == "compiled")
    private = privatize(
        net.program or model,
        torch.optim.SGD(net.parameters, lr=0.3, momentum=0.9),
        ledger := Ledger(),
        budget=Budget(noise_multiplier=sigma, clip=1.0),
        sample_rate=0.1,
        num_records=40,
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
        per_sample="hooks" if per_sample == "hooks" else "onepass",
    )
    assert (net.program is not None) == (per_sample == "compiled")
    for batch in private.batches(num):
        private.classify(lambda i: (x[i], y[i]), batch)
    private.close()
    return torch.cat([p.detach().flatten() for p in model.parameters()]), ledger


def test_training_is_that_of_one_pass_and_of_hooks() -> None:
    (ours, ledger), (one_pass, other), (hooks, _) = map(steps, ("compiled", "onepass", "hooks"))
    assert float((ours - one_pass).abs().max()) <= 1e-5
    assert float((ours - hooks).abs().max()) <= 1e-5
    assert ledger.entries == other.entries
    assert float((steps("compiled", 1.0)[0] - steps("onepass", 1.0)[0]).abs().max()) <= 1e-5
    assert float((steps("compiled", 1.0)[0] - ours).abs().max()) > 1e-2


def test_empty_batches_are_noise_alone() -> None:
    """At a rate of 0.1 of 40 records, one batch in 68 is empty; so they come."""
    torch.manual_seed(0)
    model = build(Model(name="perceptron"), Form((28, 28), CLASSES))
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    net = Net(model, (28, 28))
    assert net.program is not None
    private = privatize(
        net.program,
        torch.optim.SGD(net.parameters, lr=1.0),
        Ledger(),
        budget=Budget(noise_multiplier=2.0, clip=1.0),
        sample_rate=1e-9,
        num_records=40,
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
    )
    x, y = data((28, 28), 40, 0)
    for batch in private.batches(1):
        assert len(batch) == 0
        private.classify(lambda i: (x[i], y[i]), batch)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    moved = (after - before).double() * 40e-9
    assert float(moved.std()) == pytest.approx(2.0, rel=0.01)


class Doubled(nn.Linear):
    """Another layer than its parent."""


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), Doubled(16, 4)),
        nn.Sequential(AddChannel(), nn.Conv2d(1, 2, 2, dilation=2), nn.Flatten(), nn.Linear(8, 4)),
        nn.Sequential(AddChannel(), nn.Conv2d(1, 2, 2, padding="same"), nn.Flatten()),
        nn.Sequential(AddChannel(), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 4)),
        nn.Sequential(nn.AvgPool2d(2, padding=1), nn.Flatten(), nn.Linear(9, 4)),
        nn.Sequential(nn.AvgPool2d(3, ceil_mode=True), nn.Flatten(), nn.Linear(4, 4)),
        nn.Sequential(nn.AvgPool2d(2, divisor_override=3), nn.Flatten(), nn.Linear(4, 4)),
        nn.Sequential(nn.AvgPool2d(5), nn.Flatten(), nn.Linear(1, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).double(),
        nn.Sequential(nn.Flatten(), nn.Linear(15, 4)),
        nn.Sequential(nn.Flatten()),
        nn.ModuleList([nn.Linear(16, 4)]),
    ],
)
def test_other_nets_have_no_program(model: nn.Module) -> None:
    """They train through the taps."""
    assert Program.of(model, (4, 4)) is None


def test_tied_layers_have_no_program() -> None:
    shared = nn.Linear(16, 16)
    assert Program.of(nn.Sequential(nn.Flatten(), shared, shared), (4, 4)) is None


def test_frozen_layers_have_no_program() -> None:
    """A program's `flat` is trained as a whole."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 4))
    model[1].requires_grad_(False)
    assert Program.of(model, (4, 4)) is None


def test_a_program_has_one_loss() -> None:
    """Autograd would pass the kernels by: nothing would be clipped, so it is refused."""
    net = Net(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), (4, 4))
    assert net.program is not None
    private = privatize(
        net.program,
        torch.optim.SGD(net.parameters, lr=1.0),
        Ledger(),
        budget=Budget(noise_multiplier=1.0),
        sample_rate=1.0,
        num_records=5,
        sampling=Key.secret(),
        noise=Key.secret(),
    )
    for batch in private.batches(1):
        with pytest.raises(ModelError, match="classify"):
            private.step(lambda i: net.module(torch.ones(len(i), 4, 4)).sum(1), batch)


def test_products_have_one_thread_in_whatever_order_things_are_imported():
    """Two threads sum in another order: the same seed would give other weights."""
    code = (
        "import privacy.dp.compiled, clients.node.app, server.engines.choice; "
        "from threadpoolctl import threadpool_info as info; "
        "print({i['num_threads'] for i in info() if i['user_api'] == 'blas'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{1}\n"
