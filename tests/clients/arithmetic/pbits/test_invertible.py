"""Clamped neurons beside their law, enumerated; votes' norms and sums; what a loss tells them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.arithmetic.passes import begin_pass, dice_of
from clients.arithmetic.pbits.clamping import I0, MARGIN, clamp, duel
from clients.arithmetic.pbits.neurons import InvertibleLinear, codes_of, read, wires_of
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.cipher import Key
from privacy.errors import ModelError

NUMBERS = Arithmetic(name="invertible")


def one_sweep(word, c, first, t):
    """A neuron's free and clamped weights, spin by spin, from the equation of a p-bit."""
    n = len(c)
    free = np.where(2 * word - 1 < np.tanh(c), 1, -1)
    m, K = free.copy(), MARGIN * np.sqrt(n)
    for k in range(n):
        a = (first + k) % n
        rest = m.sum() - m[a]
        field = c[a] + I0 * t * (t * rest < K)
        m[a] = 1 if 2 * word[a] - 1 < np.tanh(field) else -1
    return free, m


@pytest.mark.parametrize("t", [-1, 1])
def test_votes_are_what_clamping_flips(t):
    """Against the equation of a p-bit, on the words that the kernel reads."""
    from clients.draws import row_seeds, uniforms

    rng, D, many = np.random.default_rng(1), 9, 300
    c = rng.normal(0, 0.5, (1, D)).astype(np.float32)
    seeds = row_seeds(np.uint64(7), np.arange(many))
    drawn = uniforms(seeds, D + 1)
    count, votes = clamp(
        np.ones((many, D), np.uint8), np.arange(D)[None], np.exp(-2 * c),
        np.full((many, 1), t, np.int8), seeds,
    )  # fmt: skip
    flips = 0
    for b, own in enumerate(np.split(votes, count.cumsum()[:-1])):
        free, m = one_sweep(drawn[b, :D], c[0], int(drawn[b, D] * D), t)
        changed = np.flatnonzero(free != m)
        assert (m[changed] == t).all()
        assert sorted(own if t > 0 else -1 - own) == changed.tolist()
        flips += len(changed)
    assert flips > many / 10


def test_without_a_margin_reached_a_sweep_is_a_draw_from_boltzmanns_law():
    """Of few weights, whose sum never reaches K: each state as often as enumeration says."""
    from clients.draws import row_seeds

    c, many = np.array([[0.3, -0.2]], np.float32), 60_000
    seeds = row_seeds(np.uint64(3), np.arange(many))
    x, t, wires = np.ones((many, 2), np.uint8), np.ones((many, 1), np.int8), np.arange(2)[None]
    count, _ = clamp(x, wires, np.exp(-2 * c), t, seeds)

    def mean(c):
        states = list(itertools.product((-1, 1), repeat=2))
        law = np.array([np.exp(c @ m) for m in states])
        return (law / law.sum()) @ states

    K = MARGIN * np.sqrt(2)
    assert K > 1  # one other weight does not reach it
    assert count.mean() == pytest.approx((mean(c[0] + I0) - mean(c[0])).sum() / 2, abs=0.005)


def test_a_duel_moves_the_label_up_and_its_rival_down():
    odds = np.ones((3, 40), np.float32)
    x = np.ones((50, 40), np.uint8)
    x[:, 20:] = 0
    label, rival = np.full(50, 2), np.full(50, 0)
    label[0] = -1
    count, votes = duel(x, odds, label, rival, np.arange(50, dtype=np.uint64))
    assert count[0] == 0
    assert count.sum() == len(votes) > 50
    up, down = votes[votes >= 0], -1 - votes[votes < 0]
    assert {*up // 40} == {2}
    assert {*down // 40} == {0}
    assert max(*up % 40, *down % 40) < 20  # an input of 0 has no vote


def net(hidden=(40, 30), side=8):
    torch.manual_seed(0)
    return build(Model(hidden=hidden), Form((side, side), 3), NUMBERS).train()


def layers_of(built):
    return [layer for layer in built if hasattr(layer, "back")]


@pytest.mark.parametrize("seed", range(3))
def test_norms_and_sums_are_those_of_each_records_votes(seed):
    torch.manual_seed(seed)
    for layer in layers_of(net()):
        inputs = layer.inputs if isinstance(layer, InvertibleLinear) else layer.weight.shape[1]
        x, told = torch.rand(40, inputs), torch.randn(40, len(layer.weight))
        begin_pass([layer.dice], Key.of(seed), torch.arange(40))
        share = layer.share(x, told)
        (rows,) = share.gradients()
        assert torch.equal(share.squared_norms, rows.flatten(1).square().sum(1))
        assert share.squared_norms.sum() > 0
        c_B = torch.rand(40, dtype=torch.float64)
        (total,) = share.weighted_sum(c_B)
        torch.testing.assert_close(total, torch.einsum("b,b...->...", c_B, rows))


def test_a_record_votes_by_itself():
    """The same, whoever is beside it, in one step."""
    layer, x, told = layers_of(net())[0], torch.rand(6, 64), torch.randn(6, 40)
    begin_pass([layer.dice], Key.of(1), torch.arange(6))
    beside = layer.share(x, told).gradients()[0]
    begin_pass([layer.dice], Key.of(1), torch.tensor([4]))
    assert torch.equal(layer.share(x[4:5], told[4:5]).gradients()[0][0], beside[4])


def test_of_the_loss_only_its_label_is_read():
    """Steps of two losses that have a label in common, and nothing else, are the same."""

    def step(loss):
        built = net()  # whose weights are not all zero, as they are read at first
        for p in built.parameters():
            p.data = torch.sin(37.0 * torch.arange(p.numel())).view_as(p)
        begin_pass(dice_of(built), Key.of(2), torch.arange(60))
        loss(built(x), y).backward()
        return [p.grad for p in built.parameters()]

    x, y = torch.rand(60, 8, 8), torch.arange(60) % 3
    entropy = step(nn.functional.cross_entropy)
    margin = step(lambda outputs, y: nn.functional.multi_margin_loss(outputs, y, margin=99.0))
    assert all(torch.equal(a, b) for a, b in zip(entropy, margin, strict=True))
    assert all(grad.abs().sum() > 0 for grad in entropy)


def test_hidden_neurons_are_told_their_classs_code():
    first, second, readout = layers_of(net())
    told = torch.tensor([[0.3, -0.5, 0.2], [0.0, 0.0, 0.0]])
    back = readout.back(torch.zeros(2, 30), told)
    assert torch.equal(-back[0], second.codes[1])
    assert not back[1].any()
    assert torch.equal(-second.back(torch.zeros(2, 40), back)[0], first.codes[1])


def test_weights_are_ternary_and_wires_are_windows():
    counters = torch.tensor([-2.0, -0.1, 0.0, 0.2, 0.5])
    assert read(counters).tolist() == [-1, 0, 0, 0, 1]
    for inputs in (1, 30, 64, 784):
        wires = wires_of(inputs, 5)
        assert wires.min() >= 0
        assert wires.max() < inputs
        assert all(len({*row}) == wires.shape[1] for row in wires.tolist())
    assert codes_of(10, 50).sum() == 0  # each neuron is clamped to 1 by half of the classes


def test_it_learns():
    """Two classes by which half of the inputs are on, with and without a hidden layer."""
    rng = torch.Generator().manual_seed(1)
    y = torch.randint(0, 2, (300,), generator=rng)
    chance = torch.where((torch.arange(64) < 32) == (y[:, None] > 0), 0.7, 0.3)
    x = torch.rand(300, 64, generator=rng).lt(chance).float().view(-1, 8, 8)
    for hidden in ((), (40,)):
        torch.manual_seed(0)
        built = build(Model(hidden=hidden), Form((8, 8), 2), NUMBERS).train()
        optimizer = torch.optim.SGD(built.parameters(), lr=3.0)
        for step in range(20):
            optimizer.zero_grad()
            begin_pass(dice_of(built), Key.of(step), torch.arange(150))
            nn.functional.cross_entropy(built(x[:150]), y[:150]).backward()
            optimizer.step()
        assert (built(x[150:]).argmax(1) == y[150:]).float().mean() > 0.8, hidden


@pytest.mark.parametrize(
    ("model", "outputs", "message"),
    [(Model(name="convnet"), 3, "no Conv2d of p-bits"), (Model(), 1, "one output has no rival")],
)
def test_what_it_cannot_train_is_refused_by_name(model, outputs, message):
    with pytest.raises(ModelError, match=message):
        build(model, Form((20, 20), outputs), NUMBERS)
