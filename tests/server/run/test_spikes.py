"""Early answers are those of a shorter evaluation; dead nets and rates that explode are named."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from clients.data.sets import load
from clients.training.net import build
from server.cli import app
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run
from server.run.spikes import spikes_of
from server.run.summary import SPIKES, summarise

SPIKING = [
    "arithmetic.name=spiking", "arithmetic.time_steps=4", "budget.unit=none",
    "federation.rounds=1", "model.hidden=[16, 12]",
]  # fmt: skip
TIMING = ["arithmetic.learning=pair", "arithmetic.coding=rate"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return Run.open(launch(load_experiment("tiny", SPIKING), runs, "spiking").path)


def told(run, *settings):
    words = [word for setting in settings for word in ("-s", setting)]
    asked = ["evaluate", str(run.path), "--json", *words]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("coding", ["current", "rate"])
def test_early_answers_are_those_of_a_shorter_evaluation(run, coding):
    whole = told(run, f"arithmetic.coding={coding}")
    early = whole["spiking"]["early"]
    assert [row["time_steps"] for row in early] == [1, 2, 3, 4]
    assert early[3]["accuracy"] == pytest.approx(whole["accuracy"])
    assert early[3]["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    shorter = told(run, f"arithmetic.coding={coding}", "arithmetic.time_steps=2")
    assert early[1]["accuracy"] == pytest.approx(shorter["accuracy"])
    assert early[1]["loss"] == pytest.approx(shorter["loss"], rel=1e-5)
    assert early[1]["spikes"] == pytest.approx(shorter["spiking"]["early"][1]["spikes"])


def test_spikes_are_counted_a_layer_at_a_time(run):
    layers = run.kept(SPIKES)["layers"]
    assert [row["neurons"] for row in layers] == [16, 12]
    spikes = run.kept(SPIKES)["early"][-1]["spikes"]
    assert spikes == pytest.approx(sum(4 * row["neurons"] * row["rate"] for row in layers))
    assert not summarise(run).warnings


@pytest.mark.parametrize(
    ("weight", "bias", "warning"),
    [(0.0, 0.0, "neurons 3: dead: no spike at all"), (0.0, 9.0, "neurons 3: rates explode: 100%")],
)
def test_dead_nets_and_exploding_rates_are_named(run, weight, bias, warning):
    fill = {"weight": weight, "bias": bias}
    weights = {n: np.full_like(w, fill[n.split(".")[-1]]) for n, w in run.weights(1).items()}
    found = spikes_of(run.experiment, weights)
    assert any(line.startswith(warning) for line in found["warnings"])
    whole = run.kept(SPIKES)
    run.keep(SPIKES, found)
    assert any(line.startswith(warning) for line in summarise(run).warnings)
    run.keep(SPIKES, whole)


def test_neurons_that_learn_by_timing_and_never_fire_are_named():
    """And, twin, not those that do."""
    experiment = load_experiment("tiny", [*TIMING, *SPIKING, "model.hidden=[16]"])
    net = build(experiment.model, load(experiment.data).form, experiment.arithmetic)
    weights = {name: w.numpy() for name, w in net.state_dict().items()}
    assert not spikes_of(experiment, weights)["warnings"]
    high = {name: w + 1e9 for name, w in weights.items() if name.endswith("threshold")}
    (line,) = spikes_of(experiment, weights | high)["warnings"]
    assert line.startswith("neurons 2: dead: no spike at all")


def test_a_dead_net_is_told_where_it_is_asked(run, capsys):
    asked = ["evaluate", str(run.path), "-s", "arithmetic.threshold=0.999"]
    dead = [*asked, "-s", "arithmetic.decay=0.001", "-s", "arithmetic.coding=rate"]
    done = CliRunner().invoke(app, [*dead, "-s", "arithmetic.rate=0.001"])
    assert done.exit_code == 0, done.output
    assert "dead: no spike at all" in done.output + capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["arithmetic.time_steps=0"], "in no time no neuron fires"),
        ([*TIMING, "arithmetic.time_steps=0"], "in no time no neuron fires"),
        ([*TIMING, "model.name=strided"], "'pair'.*: no Conv2d learns by it"),
        ([*TIMING, "model.hidden=[]"], "no neuron would fire"),
        ([*TIMING[:1]], "a current has no timing"),
        (["arithmetic.name=p-bits", "arithmetic.sweeps=0"], "sweeps"),
        (["arithmetic.name=p-bits", "model.name=strided"], "'p-bits': no Conv2d"),
        (["arithmetic.name=p-bits", "model.hidden=[]"], "'p-bits': the model has no hidden layer"),
        (["arithmetic.name=invertible", "model.name=strided"], "'invertible': no Conv2d"),
        (["arithmetic.name=invertible", "model.name=cnn1d"], "'invertible': no Conv1d"),
        (["model.hidden=[]"], "no neuron would fire"),
        (["model.name=cnn1d"], "no Conv1d between spikes"),
        (["model.name=ds-cnn"], "no depthwise Conv2d|no GroupNorm with weights"),
        (["model.name=scatter"], "no neuron would fire"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(settings, message, tmp_path):
    words = ["arithmetic.name=spiking", *settings]
    words = [word for setting in words for word in ("-s", setting)]
    done = CliRunner().invoke(app, ["run", "tiny", *words, "--runs", str(tmp_path)])
    assert done.exit_code != 0
    assert re.search(message, str(done.exception) + done.output)
    assert not list(tmp_path.iterdir())


def test_a_net_that_was_trained_in_floats_is_converted(tmp_path):
    """And answers as it did, given time; what was trained in other numbers is refused."""
    base = ["budget.unit=none", "federation.rounds=3", "model.hidden=[16]"]
    run = Run.open(launch(load_experiment("tiny", base), tmp_path, "floats").path)
    asked = ["arithmetic.name=spiking", "arithmetic.decay=1", "arithmetic.time_steps=64"]
    found = told(run, *asked)
    early = [row["accuracy"] for row in found["spiking"]["early"]]
    assert abs(early[-1] - told(run)["accuracy"]) < 0.03
    assert early[0] < early[-1] - 0.03
    words = ["arithmetic.name=fixed", "federation.rounds=1", *base[::2]]
    other = Run.open(launch(load_experiment("tiny", words), tmp_path, "words").path)
    asked = [word for setting in asked for word in ("-s", setting)]
    done = CliRunner().invoke(app, ["evaluate", str(other.path), *asked])
    assert done.exit_code
    assert "trained in 'fixed' becomes no neurons" in str(done.exception)
