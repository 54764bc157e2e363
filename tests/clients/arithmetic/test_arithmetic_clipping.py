"""In words, too, one record moves the sum by the clip at most."""

import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic, projections
from clients.arithmetic.layers import (
    ArithmeticConv2d,
    ArithmeticLinear,
    Projection,
)
from clients.arithmetic.passes import begin_pass, dice_of
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.cipher import Key
from privacy.dp import bookkeeping, rules
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.dp.rules import Share
from privacy.dp.training import privatize

# training


def models():
    words = [Arithmetic(name=name) for name in ("fixed", "ternary")]
    yield from words
    yield Arithmetic(name="fixed", bits=2, activation_bits=3, rounding="stochastic")
    yield Arithmetic(name="binary", activation_bits=1, scaling="none")
    yield Arithmetic(name="stochastic", stream_length=4, lfsr_bits=6)
    yield Arithmetic(name="spiking", time_steps=4, coding="rate")


CLIP = 0.7


def losses(net, x, i):
    begin_pass(dice_of(net), Key.of(5), i)
    return nn.functional.cross_entropy(net(x[i]), i % 3, reduction="none")


def moved(net, x, indices, start):
    """What a noiseless step on some records takes off the weights, times the expected batch."""
    net.load_state_dict(start)
    optimizer = torch.optim.SGD([p for p in net.parameters()], lr=1.0)
    private = privatize(
        net,
        optimizer,
        Ledger(),
        budget=Budget(noise_multiplier=0.0, clip=CLIP),
        sample_rate=0.5,
        num_records=40,
        sampling=Key.secret(),
        noise=Key.secret(),
    )
    private._batch = indices
    private.step(lambda i: losses(net, x, i), indices)
    private.close()
    return torch.cat([(start[n] - p.detach()).flatten() for n, p in net.named_parameters()]) * 20


def sensitivity(settings_, seed, model):
    """The most that one record of ten moves the clipped sum, wherever it stands."""
    torch.manual_seed(seed)
    x = torch.rand(40, 4, 4) * 3
    net = build(model, Form((4, 4), 3), settings_).train()
    start = {name: w.clone() for name, w in net.state_dict().items()}
    batch = torch.arange(10)
    whole = moved(net, x, batch, start)
    others = [moved(net, x, batch[batch != place], start) for place in (0, 4, 9)]
    return max(float((whole - less).norm()) for less in others)


STRIDED = Model(name="strided", channels=3, kernel=2, stride=1, hidden=(6,))


PLASTIC = Arithmetic(
    name="spiking", time_steps=9, coding="rate", rate=0.3, learning="triplet", threshold=0.1
)
CLIPPED = [
    (PLASTIC, Model(hidden=(12,))),
    (Arithmetic(name="p-bits"), Model(hidden=(12,))),
    *((settings_, Model(hidden=(12,))) for settings_ in models()),
    (Arithmetic(name="stochastic", stream_length=4, lfsr_bits=6), STRIDED),
    (Arithmetic(name="fixed"), STRIDED),
    (Arithmetic(name="spiking", time_steps=3, coding="latency", threshold=0.1), STRIDED),
]


@pytest.mark.parametrize(
    ("settings_", "model"), CLIPPED, ids=lambda s: f"{s.name}{getattr(s, 'bits', '')}"
)
def test_one_record_moves_the_sum_by_the_clip_at_most(settings_, model, monkeypatch):
    """And, twin, by more when nothing is clipped."""
    most = max(sensitivity(settings_, s, model) for s in range(4))
    assert 0.3 * CLIP < most <= CLIP * (1 + 1e-4)

    def unclipped(self, num_records=None):
        self.limit, limit = 1e9, self.limit
        accumulate(self, num_records)
        self.limit = limit

    accumulate = bookkeeping.OnePassOptimizer.accumulate
    monkeypatch.setattr(bookkeeping.OnePassOptimizer, "accumulate", unclipped)
    assert max(sensitivity(settings_, s, model) for s in range(4)) > CLIP * 1.2


@pytest.mark.parametrize("settings_", models(), ids=lambda s: f"{s.name}{s.bits}")
def test_without_clipping_the_sum_is_what_autograd_gives(settings_, monkeypatch):
    """The rules' sums against torch's own weight gradients, on the same dice."""
    torch.manual_seed(1)
    x = torch.rand(40, 4, 4)
    net = build(Model(hidden=(12,)), Form((4, 4), 3), settings_).train()
    start = {name: w.clone() for name, w in net.state_dict().items()}
    batch = torch.arange(10)
    monkeypatch.setattr(f"{__name__}.CLIP", 100.0)
    by_rule = moved(net, x, batch, start)
    net.load_state_dict(start)
    net.zero_grad()
    losses(net, x, batch).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in net.parameters()])
    assert torch.allclose(by_rule, expected, atol=1e-3)
    assert float(expected.norm()) > 0.1


def test_the_window_is_applied_after_the_clip():
    """A blocked weight does not move, and makes no room for the others."""
    layer = ArithmeticLinear(3, 2, Projection(lambda rows, _: projections.binary(rows), "none"))
    layer.weight.data = torch.tensor([[2.0, 0.5, -0.5], [0.1, -3.0, 0.2]])
    share = rules.RULES[ArithmeticLinear](layer, torch.ones(4, 3), torch.ones(4, 2))
    assert isinstance(share, Share)
    assert torch.allclose(share.squared_norms, torch.full((4,), 2.0 * (3 + 1)).double())
    weight, bias = share.weighted_sum(torch.ones(4).double())
    assert torch.equal(weight == 0, layer.weight.abs() > 1)
    assert torch.equal(bias, torch.full((2,), 4.0).double())


def test_convolutions_round_and_clip_too():
    net = build(Model(name="convnet"), Form((20, 20), 3), Arithmetic(name="fixed", bits=4))
    assert sum(isinstance(m, ArithmeticConv2d) for m in net) == 2
    assert not any(type(m) in (nn.Linear, nn.Conv2d) for m in net.modules())
    x = torch.rand(40, 20, 20)
    start = {name: w.clone() for name, w in net.state_dict().items()}
    assert 0 < float(moved(net, x, torch.arange(1), start).norm()) <= CLIP * (1 + 1e-4)
