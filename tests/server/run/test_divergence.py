"""Training that leaves the numbers says so, in which round, and what to change."""

import json

import numpy as np

from server.federation import rounds as module
from server.report import gather, to_json
from server.run.directory import Run, list_runs
from server.run.divergence import all_diverged
from server.run.figures import Score
from server.run.rounds import ClientRecord
from server.run.summary import summarise
from server.watch.headlines import headlines

FREE = ("-s", "budget.unit=none")


def report_of(folder):
    return json.loads(to_json(gather([run.path.name for run in list_runs(folder)], folder)))


def test_weights_that_are_none_stop_the_run(runs, privet):
    """One line and status 1; the run, its list and its report are marked, and it is no gap that
    `resume` would fill."""
    status, _, err = privet("run", "tiny", "--name", "a", *FREE, "-s", "training.learning_rate=1e6")
    assert status == 1
    assert err.startswith(
        "privet: diverged in round 1: no client's weights are within 1e+06; lower"
    )
    assert "[training] learning_rate" in err
    told = json.loads(privet("show", "a", "--json")[1])
    assert told["status"] == "diverged in round 1"
    assert "lower [training] learning_rate" in told["warnings"][0]
    assert json.loads(privet("list", "--json")[1])["runs"][0]["status"] == "diverged in round 1"
    found = report_of(runs)
    parts = {gap["part"] for gap in found["missing"]}
    assert "convergence" in parts
    assert "rounds" not in parts
    assert privet("resume", "a")[2].startswith("privet: diverged in round 1")


def test_weights_that_become_none_in_the_sum(runs, privet, monkeypatch):
    """A strategy's own: what it makes of good updates is looked at too."""
    aggregate = module.Gathered.aggregate

    def spoilt(self, number):
        found = aggregate(self, number)
        if number == 3:
            name = next(iter(found))
            found[name] = type(found[name])(np.full_like(found[name].numpy(), np.nan))
        return found

    monkeypatch.setattr(module.Gathered, "aggregate", spoilt)
    err = privet("run", "tiny", "--name", "a", *FREE)[2]
    assert "diverged in round 3: weights are not finite" in err
    assert summarise(Run.open(runs / "a")).status == "diverged in round 3"
    monkeypatch.undo()
    monkeypatch.setenv("PRIVET_RUNS", str(runs))
    assert privet("resume", "a")[0] == 0
    assert summarise(Run.open(runs / "a")).status == "finished"


def test_a_loss_that_is_none_is_told_and_is_json(runs, privet, monkeypatch):
    """The run goes on, since later rounds may mend it, and says from which round."""
    federate = module._Rounds.__init__

    def lossless(self, run, grid, nodes, evaluate, *others):
        losses = iter([1.0, float("nan"), float("inf"), 1.0, 1.0])
        federate(self, run, grid, nodes, lambda weights: Score(next(losses), 0.1), *others)

    monkeypatch.setattr(module._Rounds, "__init__", lossless)
    status, _, err = privet("run", "tiny", "--name", "a")
    assert status == 0
    assert "warning: diverged in round 2" in err
    lines = (runs / "a/rounds.jsonl").read_text()
    assert "NaN" not in lines
    assert "Infinity" not in lines
    run = Run.open(runs / "a")
    assert [np.isfinite(record.loss) for record in run.rounds] == [True, False, False, True, True]
    assert headlines(runs)[0]["status"] == "diverged in round 2"
    assert any("diverged in round 2" in w for w in report_of(runs)["runs"][0]["warnings"])


def test_who_refused_did_not_diverge():
    """And one whose disk burns stops a run for that."""
    numbers = ClientRecord(0, failure="rejected: 0.weight is not finite, or beyond 1e+06")
    spent = ClientRecord(1, failure="over the budget", refused=True)
    assert all_diverged([numbers, spent])
    assert not all_diverged([spent])
    assert not all_diverged([numbers, ClientRecord(2, failure="OSError: no space")])


def test_a_run_without_a_round_is_not_evaluated(runs, privet):
    """Its weights are drawn at random: their accuracy would be nobody's."""
    big = ("-s", "budget.unit=none", "-s", "training.learning_rate=1e6")
    assert privet("run", "tiny", "--name", "a", *big)[0] == 1
    status, out, err = privet("evaluate", "a")
    assert (status, out) == (2, "")
    assert "no round is done: nothing is trained; go on with: privet resume a" in err
