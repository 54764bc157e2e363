"""A Boltzmann machine beside its law, enumerated; its rule's norms and sums; what it refuses."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.arithmetic.passes import begin_pass
from clients.arithmetic.pbits.machine import BoltzmannLinear
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.cipher import Key
from privacy.errors import ModelError

VISIBLE, HIDDEN, MANY = 4, 3, 40_000


def machine(seed=0, sweeps=1, reads=8):
    torch.manual_seed(seed)
    numbers = Arithmetic(name="p-bits", time_steps=reads, sweeps=sweeps)
    layer = BoltzmannLinear(VISIBLE, HIDDEN, numbers).train()
    for p in layer.parameters():
        p.data = torch.randn_like(p)
    return layer


def expected(layer):
    """Means of h v^T, h and v under Boltzmann's law, over all states one by one."""
    W, b, a = (p.detach().double().numpy() for p in layer.parameters())
    total, means = 0.0, [np.zeros_like(p) for p in (W, b, a)]
    for state in itertools.product((0, 1), repeat=VISIBLE + HIDDEN):
        v, h = np.array(state[:VISIBLE]), np.array(state[VISIBLE:])
        weight = np.exp(h @ W @ v + a @ v + b @ h)
        total += weight
        for mean, value in zip(means, (np.outer(h, v), h, v), strict=True):
            mean += weight * value
    return [mean / total for mean in means]


def test_a_long_chain_gives_the_gradient_of_the_likelihood():
    layer = machine(sweeps=30)
    x = torch.tensor([1.0, 0.0, 0.25, 1.0]).expand(MANY, VISIBLE)
    mean = torch.full((MANY,), 1 / MANY, dtype=torch.float64)
    found = layer.share(x).weighted_sum(mean)
    p = torch.sigmoid(layer.weight @ x[0] + layer.hidden).detach().double().numpy()
    seen = np.outer(p, x[0].numpy()), p, x[0].numpy()
    for own, mine, law in zip(found, seen, expected(layer), strict=True):
        np.testing.assert_allclose(own, law - mine, atol=0.02)
    short = machine().share(x).weighted_sum(mean)
    assert any(np.abs(s - f).max() > 0.05 for s, f in zip(short, found, strict=True))  # CD is not


@pytest.mark.parametrize("seed", range(4))
def test_norms_and_sums_are_those_of_each_records_change(seed):
    layer, x = machine(seed), torch.rand(7, VISIBLE)
    x[0] = 0
    share = layer.share(x)
    rows = share.gradients()
    squared = sum(row.flatten(1).square().sum(1) for row in rows)
    torch.testing.assert_close(share.squared_norms, squared)
    assert (share.squared_norms >= squared).all()
    c_B = torch.rand(7, dtype=torch.float64)
    for total, each in zip(share.weighted_sum(c_B), rows, strict=True):
        torch.testing.assert_close(total, torch.einsum("b,b...->...", c_B, each))


def test_a_record_is_thrown_for_by_itself():
    """Its change and what is read of it are the same, whoever is beside it, in one step."""
    layer, x = machine(), torch.rand(6, VISIBLE)
    begin_pass([layer.dice], Key.of(1), torch.arange(6))
    read, beside = layer(x), layer.share(x).gradients()
    begin_pass([layer.dice], Key.of(1), torch.tensor([4]))
    assert torch.equal(layer(x[4:5])[0], read[4])
    for alone, all_ in zip(layer.share(x[4:5]).gradients(), beside, strict=True):
        torch.testing.assert_close(alone[0], all_[4])


def test_what_is_read_is_how_often_a_p_bit_was_one():
    layer = machine(reads=512).eval()
    x = torch.rand(5, VISIBLE)
    p = torch.sigmoid(x @ layer.weight.t() + layer.hidden)
    read = layer(x)
    assert torch.equal(read, layer(x))
    assert torch.equal(read * 512, (read * 512).round())
    torch.testing.assert_close(read, p, atol=0.1, rtol=0)


def test_without_a_budget_the_gradient_is_the_mean():
    torch.manual_seed(0)
    net = build(Model(hidden=(5, 4)), Form((2, 2), 3), Arithmetic(name="p-bits"))
    dice = [layer.dice for layer in net if isinstance(layer, BoltzmannLinear)]
    x = torch.rand(6, 2, 2)
    begin_pass(dice, Key.of(2), torch.arange(6))
    nn.functional.cross_entropy(net(x), torch.arange(6) % 3).backward()
    begin_pass(dice, Key.of(2), torch.arange(6))
    first = next(layer for layer in net if isinstance(layer, BoltzmannLinear))
    first(x.flatten(1))
    mean = first.share(x.flatten(1)).weighted_sum(torch.full((6,), 1 / 6).double())
    for p, own in zip(first.parameters(), mean, strict=True):
        torch.testing.assert_close(p.grad, own.float())


@pytest.mark.parametrize(
    ("model", "message"),
    [(Model(hidden=()), "no hidden layer"), (Model(name="convnet"), "no Conv2d of p-bits")],
)
def test_what_it_cannot_train_is_refused_by_name(model, message):
    with pytest.raises(ModelError, match=message):
        build(model, Form((20, 20), 3), Arithmetic(name="p-bits"))
