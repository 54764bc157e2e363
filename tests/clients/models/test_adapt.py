"""[model] adapt: what is trained, in one process and in a federation, and what stays as it is."""

import numpy as np
import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.layers import Offset, Residual
from clients.models import Model
from clients.models.adapt import adapt
from clients.protocol import Form
from clients.training.net import Net, build, frozen
from privacy.dp.rules import RULES
from privacy.dp.training import require_private
from privacy.errors import ModelError, SettingsError
from server.engines.launch import launch
from server.experiment.loading import load_experiment

FORM = Form((1, 12, 10), 4)
HOWS = ["head", "bias", "lora:2"]


def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(80, 6), nn.ReLU(),
        nn.Linear(6, 4),
    )  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
def test_a_model_begins_as_it_was(how):
    net, x = model(), torch.rand(3, 1, 12, 10)
    before = net(x)
    assert torch.equal(adapt(net, how)(x), before)


@pytest.mark.parametrize(
    ("how", "trained"),
    [("all", 4 * 10 + 486 + 28), ("head", 28), ("bias", 4 + 6 + 28), ("lora:2", 26 + 172 + 28)],
)
def test_so_many_numbers_are_trained(how, trained):
    net = adapt(model(), how)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == trained
    require_private(net)
    assert sum(p.numel() for p in Net(net, (1, 12, 10)).parameters) == trained


def test_low_rank_and_offsets_stand_beside_whole_layers():
    net = adapt(model(), "lora:2")
    assert [type(layer) for layer in net if isinstance(layer, Residual)] == [Residual, Residual]
    assert type(net[5]) is nn.Linear
    net = adapt(model(), "bias")
    assert sum(isinstance(layer, Offset) for layer in net.modules()) == 2


def test_recurrent_layers_and_attention_are_trained_in_their_biases():
    form = Form((3, 20), 4, "window")
    for name, parts in (("gru", "bias_"), ("attention", "bias")):
        net = build(Model(name=name, adapt="bias"), form)
        names = [n for n, p in net.named_parameters() if p.requires_grad]
        inside = [n for n in names if "cells" in n or "heads" in n]
        assert inside
        assert all(parts in n.rpartition(".")[2] for n in inside)
        assert net(torch.rand(2, 3, 20)).shape == (2, 4)


@pytest.mark.parametrize("trailing", [0, 1, 2])
def test_an_offsets_rule_is_its_gradient(trailing):
    layer = Offset((3,), trailing)
    shape = (5, 3, *(4,) * trailing) if trailing else (5, 7, 3)
    x, g = torch.rand(shape), torch.rand(shape)
    share, c = RULES[Offset](layer, x, g), torch.rand(5).double()
    rows = []
    for one, its in zip(x, g, strict=True):
        layer.zero_grad()
        (layer(one[None]) * its[None]).sum().backward()
        rows.append(layer.offset.grad.clone().double())
    rows = torch.stack(rows)
    assert torch.allclose(share.squared_norms, rows.square().sum(1), rtol=1e-5)
    assert torch.allclose(share.weighted_sum(c)[0], c @ rows, rtol=1e-5)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    "settings",
    [
        ["budget.unit=record"],
        ["budget.unit=client"],
        ["budget.unit=none", "compression.bits=2", "strategy.name=fedadam"],
        ["federation.secure_aggregation=masks"],
    ],
    ids=lambda settings: settings[0],
)
def test_what_is_frozen_stays_as_it_is_to_the_last_bit(how, settings, runs):
    """Also where the server adds noise to all that it has, or updates are rounded at random."""
    asked = [f"model.adapt={how}", "model.hidden=[6]", "federation.rounds=2", *settings]
    asked += ["federation.clients=3", "training.local_steps=2"]
    run = launch(load_experiment("tiny", asked), runs)
    experiment = run.experiment
    still = frozen(experiment.model, Form((8, 8), 10), experiment.arithmetic)
    before, after = run.weights(0), run.weights(2)
    assert still
    assert still < set(before)
    for name, old in before.items():
        assert np.array_equal(old, after[name]) == (name in still), name


def test_what_cannot_be_adapted_is_refused_in_one_line():
    for how in ("bias", "lora:2"):
        with pytest.raises(ModelError, match=r"\[model\] adapt = .*use \[arithmetic\]"):
            build(Model(adapt=how), FORM, Arithmetic(name="ternary"))
    assert build(Model(adapt="head"), FORM, Arithmetic(name="ternary"))
    for how in ("lora", "lora:0", "lora:", "none"):
        with pytest.raises(SettingsError, match=r"\[model\] adapt"):
            load_experiment("tiny", [f"model.adapt={how}"])
