"""Bits that flip in memory, and binarized nets that are exported."""

import math

import numpy as np
import pytest
import torch

from clients.arithmetic import Arithmetic
from clients.arithmetic.export import export_binary
from clients.arithmetic.faults import flip_words
from clients.arithmetic.passes import begin_pass, dice_of
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.cipher import Key
from privacy.errors import ModelError

# faults


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_faults_flip_bits_of_twos_complement(bits):
    words = torch.randint(-(1 << bits - 1), 1 << bits - 1, (5000,)).float()
    assert torch.equal(flip_words(words, bits, 0.0), words)
    all_flipped = flip_words(words, bits, 1.0)
    assert torch.equal(all_flipped, -1 - words)
    some = flip_words(words, bits, 0.1).long() ^ words.long()
    flipped = sum((some >> bit & 1).sum().item() for bit in range(bits))
    assert abs(flipped - 500 * bits) <= 5 * math.sqrt(500 * bits)


@pytest.mark.parametrize("name", ["fixed", "ternary", "binary", "stochastic"])
def test_faults_strike_in_evaluation_only_and_always_alike(name):
    torch.manual_seed(0)
    healthy = build(Model(), Form((8, 8), 5), Arithmetic(name=name))
    faulty = build(Model(), Form((8, 8), 5), Arithmetic(name=name, fault_rate=0.05))
    faulty.load_state_dict(healthy.state_dict())
    x = torch.rand(6, 8, 8)
    for net in (healthy, faulty):
        begin_pass(dice_of(net), Key.of(1), torch.arange(6))
    assert torch.equal(healthy(x), faulty(x))
    with torch.no_grad():
        struck = faulty.eval()(x)
        assert not torch.equal(healthy.eval()(x), struck)
        assert torch.equal(faulty(x), struck)


# export


@pytest.mark.parametrize("hidden", [(30,), (20, 10)])
@pytest.mark.parametrize("scaling", ["none", "tensor"])
def test_an_exported_net_decides_as_the_model_does(hidden, scaling):
    settings_ = Arithmetic(name="binary", activation_bits=1, scaling=scaling, threshold=0.4)
    torch.manual_seed(0)
    net = build(Model(hidden=hidden), Form((6, 6), 7), settings_).eval()
    x = torch.rand(300, 36)
    with torch.no_grad():
        logits = net(x)
    exported = export_binary(net)
    assert all(w.dtype == np.int8 for w in exported.weights)
    assert all(b.dtype == np.int64 for b in exported.biases[:-1])
    plain = exported.logits(x.numpy())
    ratio = plain.std() / logits.numpy().std()
    assert np.allclose(plain, logits.numpy() * ratio, atol=1e-2 * plain.std())
    assert (plain.argmax(1) == logits.numpy().argmax(1)).mean() > 0.99


def test_other_nets_are_not_exported():
    with pytest.raises(ModelError, match="not a binarized perceptron; train one with"):
        export_binary(build(Model(), Form((4, 4), 3), Arithmetic(name="binary")))
    settings_ = Arithmetic(name="binary", activation_bits=1)
    net = build(Model(), Form((4, 4), 3), settings_)
    with pytest.raises(ModelError, match="scaling = 'none' or 'tensor'"):
        export_binary(net)
