"""Neurons beside snntorch's: the same spikes, the same gradients; and beside a plain loop."""

import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.arithmetic.spiking.chain import SpikingChain, most_numbers
from clients.arithmetic.spiking.coding import BLACK, Encoder
from clients.arithmetic.spiking.neurons import Neurons
from clients.models import Model
from clients.protocol import Form
from clients.training.net import WORKSPACE, Net, build

KINDS = [
    {"surrogate": surrogate, "reset": reset, "slope": slope}
    for surrogate, slope in (("fast-sigmoid", 25.0), ("arctan", 2.0))
    for reset in ("subtract", "zero")
]


def neurons(held, **settings):
    made = Neurons(Arithmetic(name="spiking", time_steps=6, threshold=0.7, **settings))
    made.held = held
    return made


def snntorch():
    return pytest.importorskip("snntorch", reason="snntorch is not installed: pip install '.[dev]'")


def theirs(settings):
    """Neurons of snntorch with the same settings."""
    snn = snntorch()
    from snntorch import surrogate

    names = {"fast-sigmoid": surrogate.fast_sigmoid, "arctan": surrogate.atan}
    return snn.Leaky(
        beta=settings.decay,
        threshold=settings.threshold,
        spike_grad=names[settings.surrogate](settings.slope),
        reset_mechanism=settings.reset,
    )


class Spike(torch.autograd.Function):
    """A step whose slope is that of a surrogate."""

    @staticmethod
    def forward(ctx, x, kind):
        ctx.kind = kind
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        slope = ctx.kind["slope"]
        if ctx.kind["surrogate"] == "fast-sigmoid":
            return g / (1 + slope * x.abs()) ** 2, None
        return g * slope / 2 / (1 + (torch.pi / 2 * slope * x) ** 2), None


def by_loop(current, ours, kind):
    """Step by step, by torch alone: [B, T, N] -> spikes [B, T, N]."""
    u, s, out = 0.0, torch.zeros(()), []
    for t in range(ours.steps):
        fired = s.detach()
        u = ours.decay * ((1 - fired) * u if ours.to_zero else u) + current[:, t]
        u = u if ours.to_zero else u - fired * ours.theta
        s = Spike.apply(u - ours.theta, kind)
        out.append(s)
    return torch.stack(out, 1)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k['surrogate']} {k['reset']}")
def test_spikes_and_gradients_are_those_of_a_plain_loop(kind, held):
    torch.manual_seed(0)
    ours = neurons(held, **kind)
    current = torch.randn(4, 5, dtype=torch.float64) + 0.3
    current = current if held else torch.randn(4, 6, 5, dtype=torch.float64) + 0.3
    current.requires_grad_()
    weight = torch.randn(4, 6, 5, dtype=torch.float64)
    spikes = ours(current)
    (g,) = torch.autograd.grad((spikes * weight).sum(), current)
    seen = current[:, None].expand(-1, 6, -1) if held else current
    expected = by_loop(seen, ours, kind)
    (of_loop,) = torch.autograd.grad((expected * weight).sum(), current)
    assert torch.equal(spikes, expected)
    assert 0.1 < float(spikes.mean()) < 0.9
    assert torch.allclose(g, of_loop, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k['surrogate']} {k['reset']}")
def test_the_gradient_has_a_gradient(kind, held):
    """Which inversion of gradients goes down: against differences."""
    torch.manual_seed(1)
    ours = neurons(held, **kind)
    current = torch.randn(2, 3, dtype=torch.float64) + 0.3
    current = current if held else torch.randn(2, 6, 3, dtype=torch.float64) + 0.3
    current.requires_grad_()
    g, along = torch.randn(2, 6, 3, dtype=torch.float64), torch.randn_like(current)

    def first(x):
        return ours.back(g, x)

    (found,) = torch.autograd.grad((ours(current) * g).sum(), current, create_graph=True)
    assert torch.allclose(found, first(current), rtol=1e-12, atol=1e-14)
    (twice,) = torch.autograd.grad((found * along).sum(), current)
    step = 1e-6 * torch.randn_like(current)
    change = ((first(current + step) - first(current - step)) * along).sum() / 2
    assert float((twice * step).sum()) == pytest.approx(float(change), rel=1e-4)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k['surrogate']} {k['reset']}")
def test_pooled_spikes_are_those_of_two_layers(kind, held):
    """The largest of each window, and gradients to its first: against torch's pooling."""
    torch.manual_seed(3)
    ours, steps = neurons(held, **kind), () if held else (6,)
    current = (torch.randn(3, *steps, 2, 4, 5) + 0.2).requires_grad_()
    found = ours.pooled(current)
    expected = nn.functional.max_pool2d(ours(current).flatten(0, 1), 2, 1).view(found.shape)
    assert torch.equal(found, expected)
    assert 0.1 < float(found.detach().mean()) < 0.9
    g = torch.randn_like(found)
    one, other = (
        torch.autograd.grad(spikes, current, g, create_graph=again)[0]
        for spikes, again in ((found, False), (expected, False))
    )
    assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
    once = torch.autograd.grad(ours.pooled(current), current, g, create_graph=True)[0]
    assert torch.allclose(once, one, rtol=1e-5, atol=1e-6)
    twice = [
        torch.autograd.grad(first.square().sum(), current)[0]
        for first in (once, torch.autograd.grad(
            nn.functional.max_pool2d(ours(current).flatten(0, 1), 2, 1).view(g.shape),
            current, g, create_graph=True,
        )[0])
    ]  # fmt: skip
    assert torch.allclose(*twice, rtol=1e-4, atol=1e-5)
    assert float(twice[0].norm()) > 0.1


def test_in_training_a_net_gives_what_it_gives_in_evaluation():
    """Where neurons and pooling are one kernel, of few records at a time."""
    torch.manual_seed(4)
    net = build(Model(name="convnet"), Form((20, 20), 4), Arithmetic(name="spiking"))
    x, y = torch.rand(6, 20, 20), torch.arange(6) % 4
    found = []
    for mode in (True, False):
        net.train(mode).zero_grad()
        outputs = net(x)
        nn.functional.cross_entropy(outputs, y).backward()
        found.append([outputs.detach(), *(p.grad.clone() for p in net.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    numbers = most_numbers(net, (20, 20))
    assert numbers == 8 * 16 * 10 * 10
    assert Net(net, (20, 20)).piece == WORKSPACE // numbers
    assert Net(build(Model(), Form((20, 20), 4)), (20, 20)).piece is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k['surrogate']} {k['reset']}")
@pytest.mark.parametrize("model", [Model(hidden=(20, 15)), Model(name="convnet")])
def test_a_net_is_snntorchs(model, kind):
    """Whole nets: spikes of each layer, bit for bit, and gradients of each weight."""
    settings = Arithmetic(name="spiking", time_steps=5, coding="rate", threshold=0.3, **kind)
    torch.manual_seed(2)
    net = build(model, Form((20, 20), 4), settings).eval()  # where a record always fires alike
    assert isinstance(net, SpikingChain)
    x, y = torch.rand(6, 20, 20), torch.arange(6) % 4
    nn.functional.cross_entropy(net(x), y).backward()
    ours = {name: p.grad.clone() for name, p in net.named_parameters()}
    fired = net.watch(x)
    net.zero_grad()

    encoder = next(m for m in net if isinstance(m, Encoder))
    before = list(net)[: list(net).index(encoder) + 1]
    spikes = nn.Sequential(*before)(x)
    cells, membranes, counts, last = {}, {}, {}, 0.0
    for t in range(settings.time_steps):
        h = spikes[:, t]
        for name, layer in list(net.named_children())[len(before) :]:
            if isinstance(layer, Neurons):
                cell = cells.setdefault(name, theirs(settings))
                start = membranes.get(name, torch.zeros_like(h))
                h, membranes[name] = cell(h, start)
                counts.setdefault(f"neurons {name}", []).append(h.detach().flatten(1).sum(0))
            elif hasattr(layer, "weight"):
                h = layer(h)
            elif hasattr(layer, "layer"):  # at each step
                h = layer.layer(h)
        last = last + h / settings.time_steps  # a cell that neither leaks nor fires
    assert all(torch.equal(fired.spikes[n], torch.stack(c).long()) for n, c in counts.items())
    assert all(float(spikes.sum()) > 0 for spikes in fired.spikes.values())
    assert torch.allclose(fired.outputs[-1], last.detach(), atol=1e-5)
    nn.functional.cross_entropy(last, y).backward()
    for name, p in net.named_parameters():
        assert torch.allclose(ours[name], p.grad, rtol=1e-4, atol=1e-6), name
    assert any(float(g.norm()) > 1e-3 for g in ours.values())


def test_latency_is_snntorchs():
    """Linear, and normalised to the steps that there are."""
    snntorch()
    from snntorch import spikegen

    x = torch.rand(3, 4, 7)
    x[0] = 0.0
    x[1, 0] = 1.0
    ours = Encoder(Arithmetic(name="spiking", coding="latency", time_steps=9))(x)
    expected = spikegen.latency(
        x, num_steps=9, threshold=BLACK, normalize=True, linear=True, clip=True
    )
    assert torch.equal(ours.transpose(0, 1), expected)
    assert not ours[0].any()
    assert ours[1, 0, 0].all()


def test_rates_are_those_of_the_pixels():
    """In training each record has draws of its own; in evaluation it always fires alike."""
    encoder = Encoder(Arithmetic(name="spiking", coding="rate", time_steps=1000))
    x = torch.tensor([[0.0, 0.2, 0.9, 1.0, 7.0, -1.0]]).repeat(2, 1)
    encoder.dice.begin(5)
    spikes = encoder(x)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(spikes.mean(1), x.clamp(0, 1), atol=0.05)
    assert not torch.equal(spikes[0], spikes[1])
    encoder.eval()
    again = encoder(x)
    assert torch.equal(again[0], again[1])
    assert torch.equal(again, encoder(x))
    shorter = Encoder(Arithmetic(name="spiking", coding="rate", time_steps=10)).eval()
    assert torch.equal(shorter(x), again[:, :10])
