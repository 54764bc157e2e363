"""Spike timing beside a plain loop; what it learns without a label; what it cannot train."""

import numpy as np
import oracles_arithmetic as oracles
import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.arithmetic.passes import constrain
from clients.arithmetic.spiking.plasticity import LEAST, PlasticLinear
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.errors import ModelError

RECORDS, STEPS, INPUTS, NEURONS = 6, 12, 9, 5


def settings(**others):
    chosen = {"coding": "rate", "learning": "pair", "time_steps": STEPS, "threshold": 0.1}
    return Arithmetic(name="spiking", **(chosen | others))


def drawn(seed, learning):
    torch.manual_seed(seed)
    layer = PlasticLinear(INPUTS, NEURONS, settings(learning=learning, decay=0.8))
    layer.threshold.data += torch.rand(NEURONS) / 5
    return layer, (torch.rand(RECORDS, STEPS, INPUTS) < 0.4).float()


@pytest.mark.parametrize("learning", ["pair", "triplet"])
@pytest.mark.parametrize("seed", range(5))
def test_spikes_and_changes_are_those_of_a_plain_loop(seed, learning):
    layer, spikes = drawn(seed, learning)
    w, theta = layer.weight.detach().numpy(), layer.threshold.detach().numpy()
    fired = layer.answer(spikes)
    assert 0 < fired.sum() < RECORDS * STEPS
    share = layer.share(spikes)
    for b, (x, s) in enumerate(zip(spikes.numpy(), fired.numpy(), strict=True)):
        np.testing.assert_array_equal(s, oracles.compete(x, w, theta, 0.8))
        changes = oracles.by_timing(x, s, w, 0.8, triplet=learning == "triplet")
        squared = sum(float((change**2).sum()) for change in changes)
        assert float(share.squared_norms[b]) == pytest.approx(squared, rel=1e-6)
        for own, change in zip(share.gradients(), changes, strict=True):
            np.testing.assert_allclose(own[b], -change, rtol=1e-5, atol=1e-9)
    c_B = torch.rand(RECORDS, dtype=torch.float64)
    for total, rows in zip(share.weighted_sum(c_B), share.gradients(), strict=True):
        torch.testing.assert_close(total, torch.einsum("b,b...->...", c_B, rows))


def test_without_a_budget_the_gradient_is_the_mean_and_layers_before_learn_too():
    torch.manual_seed(0)
    net = build(Model(hidden=(7, 6)), Form((3, 3), 4), settings(threshold=0.05))
    spikes = {}
    hidden = [layer for layer in net if isinstance(layer, PlasticLinear)]
    for layer in hidden:
        layer.register_forward_hook(lambda at, told, _: spikes.update({at: told[0].detach()}))
    nn.functional.cross_entropy(net(torch.rand(8, 3, 3)), torch.arange(8) % 4).backward()
    assert len(hidden) == 2
    for layer in hidden:
        mean = layer.share(spikes[layer]).weighted_sum(torch.full((8,), 1 / 8).double())
        torch.testing.assert_close(layer.weight.grad, mean[0].float())
        torch.testing.assert_close(layer.threshold.grad, mean[1].float())
        assert layer.weight.grad.abs().max() > 0


def test_neurons_share_out_what_comes_without_a_label():
    """Two patterns, labels that tell nothing: in the end each neuron fires for one of them."""
    torch.manual_seed(3)
    net = build(Model(hidden=(6,)), Form((2, 8), 2), settings(rate=0.5, decay=0.9, threshold=0.15))
    patterns = torch.zeros(2, 2, 8)
    patterns[0, 0], patterns[1, 1] = 1.0, 1.0
    x = patterns[torch.arange(40) % 2]
    before = selectivity(net)
    for _ in range(120):
        net.zero_grad()
        nn.functional.cross_entropy(net(x), torch.zeros(40, dtype=torch.long)).backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= 5 * p.grad
    after = selectivity(net)
    assert after.min() > 0.75 > 0.65 > before.max()


def selectivity(net):
    """Of each neuron, the share of its weights that lies on the pattern it hears best."""
    layer = next(layer for layer in net if isinstance(layer, PlasticLinear))
    w = layer.weight.detach()
    on_pattern = torch.stack([w[:, :8].sum(1), w[:, 8:].sum(1)])
    assert 0 < on_pattern.argmax(0).float().mean() < 1  # both patterns have their neurons
    return on_pattern.max(0).values / w.sum(1)


def test_weights_are_cut_where_they_are_read_and_kept_as_they_are():
    layer, spikes = drawn(0, "pair")
    layer.weight.data[:, :3], layer.weight.data[:, 3:6] = -0.5, 1.5
    layer.threshold.data[0] = -3
    cut, _ = drawn(0, "pair")
    cut.weight.data.copy_(layer.weight.data.clamp(LEAST, 1))
    cut.threshold.data.copy_(layer.threshold.data.clamp(min=LEAST))
    kept = [p.clone() for p in layer.parameters()]
    assert torch.equal(layer(spikes), cut(spikes))
    shares = layer.share(spikes).gradients(), cut.share(spikes).gradients()
    assert all(torch.equal(own, other) for own, other in zip(*shares, strict=True))
    constrain(nn.Sequential(layer))
    assert all(torch.equal(p, before) for p, before in zip(layer.parameters(), kept, strict=True))


@pytest.mark.parametrize(
    ("model", "others", "message"),
    [
        (Model(hidden=(4,)), {"coding": "current"}, "a current has no timing"),
        (Model(hidden=()), {}, "no neuron would fire"),
        (Model(name="convnet"), {}, "no Conv2d learns by it"),
    ],
)
def test_what_cannot_learn_so_is_refused_by_name(model, others, message):
    with pytest.raises(ModelError, match=message):
        build(model, Form((20, 20), 3), settings(**others))
