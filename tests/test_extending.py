"""How to add a model, an arithmetic, a chip, an attack: the page's own examples, as they stand."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attacks.membership import scores as membership
from clients import models
from clients.arithmetic import ARITHMETICS
from clients.arithmetic.layers import ArithmeticLinear
from clients.data.sets import load
from clients.training.plain import plain
from server import cli
from server.adversary.adversaries import attack, settings_of
from server.adversary.replay import builder
from server.engines.launch import launch
from server.experiment.loading import load_experiment

PAGE = (Path(__file__).parent.parent / "server/README.md").read_text()
BLOCKS = re.findall(r"```(python|toml)\n(.*?)```", PAGE.partition("## How to add")[2], re.DOTALL)
PARTS = ("model", "arithmetic", "chip", "attack")
TEXT = dict(zip(PARTS, (text for _, text in BLOCKS), strict=True))


@pytest.fixture(autouse=True)
def registries():
    """A test may add to the registries, and leaves them as they were."""
    before = [(known, dict(known)) for known in (models.MODELS, ARITHMETICS, membership.ATTACKS)]
    yield
    for known, content in before:
        known.clear()
        known.update(content)


def add(part):
    """Execute an example, with no more than the imports that every module of the room has."""
    exec(compile(TEXT[part], f"how to add: {part}", "exec"), {"torch": torch, "nn": nn})


@pytest.mark.parametrize("part", PARTS)
def test_an_example_is_short(part):
    assert len(TEXT[part].strip().splitlines()) < 30


def test_a_model(runs):
    with pytest.raises(Exception, match="unknown model"):
        load_experiment("tiny", ["model.name=logistic"])
    add("model")
    run = launch(load_experiment("tiny", ["model.name=logistic", "federation.rounds=4"]), runs)
    assert {w.shape for w in run.weights(4).values()} == {(10, 64), (10,)}
    assert run.rounds[-1].accuracy > 0.5
    assert run.rounds[-1].epsilon < 8
    # in any arithmetic
    settings = ["model.name=logistic", "arithmetic.name=ternary", "federation.rounds=1"]
    assert launch(load_experiment("tiny", settings), runs).rounds[-1].epsilon > 0


def test_an_arithmetic(runs):
    add("arithmetic")
    experiment = load_experiment("tiny", ["arithmetic.name=shift", "federation.rounds=5"])
    assert experiment.arithmetic.formats.weight_bits == 4
    run = launch(experiment, runs)
    assert run.rounds[-1].accuracy > 0.3
    assert run.rounds[-1].epsilon < 8
    model = builder(experiment)(0)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in run.weights(5).items()})
    x = torch.rand(50, *load(experiment.data).form.shape)
    assert torch.allclose(plain(model)(x), model.eval()(x), atol=1e-5)
    for layer in model.modules():
        if isinstance(layer, ArithmeticLinear):
            words = layer.projection.words(layer.weight).words.detach().numpy()
            assert set(np.unique(np.abs(words))) <= {2.0**-i for i in range(8)}


def test_a_chip(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.toml").write_text(TEXT["chip"])
    run = launch(load_experiment("tiny", ["federation.rounds=1"]), runs)
    told = ["privet", "cost", str(run.path), "--chip", str(tmp_path / "mine.toml"), "--json"]
    monkeypatch.setattr(sys, "argv", told)
    with pytest.raises(SystemExit) as leave:
        cli.main()
    assert not leave.value.code
    (cost,) = json.loads(capsys.readouterr().out)
    assert cost["chip"].startswith("Mine: ")
    assert cost["round"]["latency_s"] > cost["step"]["latency_s"] > 0
    macs = 64 * 32 + 32 * 10
    assert cost["inference"]["macs"] == macs
    assert cost["inference"]["latency_s"] > macs / 256 / 200e6


def test_an_attack(runs, monkeypatch):
    settings = ["budget.unit=none", "federation.rounds=3", "attack.reconstruct=false"]
    settings += ["attack.shadows=4"]
    run = launch(load_experiment("tiny", settings), runs)
    add("attack")
    monkeypatch.setattr(membership.Portfolio, "choose", lambda self, key: "margin")
    found = attack(run, settings_of(run, None), lambda _: None)
    for adversary in ("final_model", "all_rounds"):
        assert set(found[adversary]["attacks"]) == {"margin", "loss"}
        assert found[adversary]["auc"]["low"] < found[adversary]["auc"]["high"]
