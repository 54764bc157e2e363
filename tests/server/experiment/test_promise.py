"""The words beside an epsilon: seeded noise is a simulation, wherever one is shown."""

import json

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.experiment.promise import (
    SIMULATION,
    caveat_of,
    neighbours_of,
    trust_of,
)
from server.report.facts.reading import gather
from server.report.forms.html import to_html
from server.report.page.promises import limits
from server.run.summary import summarise
from server.watch.headlines import headlines

PLANS = {
    "record": ("budget.unit=record",),
    "client": ("budget.unit=client",),
    "record, in a sum": ("federation.secure_aggregation=masks",),
    "client, in a sum": ("budget.unit=client", "federation.secure_aggregation=masks"),
}


def plan(*assignments):
    return load_experiment("tiny", list(assignments)).resolve()


@pytest.mark.parametrize("chosen", PLANS.values(), ids=PLANS)
def test_seeded_noise_protects_nobody_from_who_knows_the_seed(chosen):
    assert SIMULATION == (
        'a simulation: who knows the seed can take the noise away; deploy, or `noise = "secure"`'
    )
    seeded, secure = plan(*chosen), plan(*chosen, "training.noise=secure")
    assert caveat_of(seeded) == SIMULATION
    assert SIMULATION in trust_of(seeded)
    assert "protected" not in trust_of(seeded)
    assert caveat_of(secure) == ""
    assert "is protected" in trust_of(secure)
    assert "simulation" not in trust_of(secure)
    assert neighbours_of(seeded).startswith("add or remove one ")


def test_without_a_promise_there_is_nothing_to_take_back():
    bare = plan("budget.unit=none")
    assert (caveat_of(bare), neighbours_of(bare)) == ("", "")
    assert trust_of(bare).startswith("no promise")


def test_it_stands_wherever_an_epsilon_of_a_seeded_run_is_shown(runs, monkeypatch):
    """Show, list, the sentence after a run, and the report."""
    monkeypatch.setenv("PRIVET_RUNS", str(runs))
    done = CliRunner().invoke(app, ["run", "tiny", "-s", "federation.rounds=1", "--name", "a"])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert SIMULATION in said
    assert "add or remove one record" in said
    told = json.loads(CliRunner().invoke(app, ["show", "a", "--json"]).stdout)
    assert told["caveat"] == SIMULATION
    assert told["neighbours"] == "add or remove one record"
    assert "the noise's sampler adds less than 8e-37 to delta" in told["sampling"]
    shown = " ".join(CliRunner().invoke(app, ["show", "a"]).stdout.replace("│", " ").split())
    assert "who knows the seed can take the noise away" in shown
    listed = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert listed["runs"][0]["epsilon"].endswith("(simulation)")

    facts = gather(["a"], runs)
    assert any(SIMULATION in str(block) for block in limits(facts.runs).blocks)
    first = to_html(facts).partition('<p class="foot">')[2].partition("</p>")[0]  # by the figures
    assert SIMULATION.partition(";")[0] in first

    secure = launch(load_experiment("tiny", ["federation.rounds=1", "training.noise=secure"]), runs)
    assert summarise(secure).caveat == ""
    assert "simulation" not in headlines(runs)[-1]["epsilon"]
