"""What is told of a net that nobody built is what building it tells."""

import json

import pytest
import torch
from torch import nn

from clients.data.sets import load
from clients.training import outline as outlines
from clients.training.outline import NAME, outline, outline_of
from privacy import memo
from server.experiment.loading import load_experiment
from server.experiment.prepared import prepare, sketch

NETS = {
    "perceptron": [],
    "strange": ["model.name=convnet", "model.norm=batch", "budget.unit=none"],
    "gru": ["model.name=gru", "model.width=4"],
    "rank": ["model.adapt=lora:2"],
    "words": ["arithmetic.name=fixed", "arithmetic.bits=4"],
}


@pytest.fixture
def remembering(tmp_path, monkeypatch):
    """A cache of its own; what was told in this process is forgotten."""
    monkeypatch.setattr(memo, "MOST", 8)
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path))
    return tmp_path / NAME


def refuse(*_):
    raise AssertionError("a net was built")


@pytest.mark.parametrize("name", NETS)
def test_what_was_told_once_is_told_again(remembering, monkeypatch, name):
    settings = [*NETS[name], "data.crop=0"]
    if name == "strange":  # which takes pictures of 20x20 at the least
        settings += ["data.name=fashion-mnist"]
    job = load_experiment("tiny", settings)
    form = load(job.data).form if name != "strange" else outlines.Form((28, 28), 10)
    net = outlines.first_net(job, form)
    first = outline(job, form)
    assert first.weights == sum(p.numel() for p in net.parameters())
    assert first == outline_of(net, job, form)
    assert any("int64" in kind for kind in first.counters.values()) == (name == "strange")
    monkeypatch.setattr(outlines, "_built", refuse)
    memo._known.cache_clear()
    assert outline(job, form) == first
    other = load_experiment("tiny", [*settings, "seed=5", "training.learning_rate=0.3"])
    assert outline(other, form) == first
    with pytest.raises(AssertionError, match="was built"):
        outline(job, form._replace(outputs=11))


def test_other_code_is_asked_again(remembering, monkeypatch):
    job = load_experiment("tiny")
    form = load(job.data).form
    outline(job, form)
    monkeypatch.setattr(memo, "told_by", lambda *_: "another")
    monkeypatch.setattr(outlines, "_built", refuse)
    with pytest.raises(AssertionError, match="was built"):
        outline(job, form)


DAMAGES = [
    [1], ["x", "compiled", "", {}], {"weights": 3}, None, "text", [-7, "compiled", "", {}],
    [True, "compiled", "", {}], [10**400, "compiled", "", {}], [9, "\x1b[31mred", "", {}],
    [9, "compiled", "", {"counter": [1]}],
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_somebody_changed_in_the_file_is_asked_again(remembering, damage):
    job = load_experiment("tiny")
    form = load(job.data).form
    first = outline(job, form)
    told = json.loads(remembering.read_text())
    remembering.write_text(json.dumps({key: damage for key in told}))
    memo._known.cache_clear()
    assert outline(job, form) == first


def test_telling_draws_nothing(remembering):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    outline(load_experiment("tiny"), load(load_experiment("tiny").data).form)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("unit", ["record", "client", "none"])
def test_what_is_shown_is_what_is_run(remembering, unit):
    experiment = load_experiment("tiny", [f"budget.unit={unit}"])
    for _ in range(2):  # the second is from before
        shown = sketch(experiment)
        run = prepare(experiment)
        assert shown.experiment == run.experiment
        assert shown.outline.weights == sum(p.numel() for p in run.model.parameters())
        memo._known.cache_clear()
    assert isinstance(run.model, nn.Module)
