"""`privet sweep --charge`: one run is told, and its epsilon counts the search."""

import json
import math

import pytest
from oracles_selection import charged_epsilon, step_divergence
from restated import require

from privacy.errors import Interrupted
from server.report.facts.reading import gather
from server.report.page.promises import limits
from server.run.directory import Run
from server.run.summary import summarise
from server.sweep import charged, stages
from server.sweep.axes import parse_axes
from server.sweep.document import Document
from server.sweep.sweep import Sweep

LAW = "geometric=3"
SMALL = ["-s", "federation.rounds=1", "-s", "federation.clients=1", "-s", "training.local_steps=2"]
AXES = ["--over", "training.learning_rate=0.01..1 log", "--over", "budget.epsilon=2,4"]
SEARCH = ["sweep", "tiny", *SMALL, *AXES, "--charge", LAW, "-s", "seed=5", "--name", "s"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--charge", "geometric"], "geometric=20, logarithmic=20"),
        (["--charge", "geometric=1"], "the mean must be 1.01"),
        (["--charge", "geometric=2,1"], "must be geometric=20"),
        (["--charge", "negative-binomial=20"], "must be geometric=20"),
        (["--charge", "negative-binomial=20,-0.95"], "the shape must be -0.9"),
        (["--charge", "negative-binomial=999,-0.9"], "millions of trials"),
        (["--charge", LAW, "--search", "accuracy"], "leave it out: --charge tries"),
        (["--charge", LAW, "--seeds", "2"], "leave it out"),
        (["--charge", LAW, "--attack"], "afterwards: privet attack RUN"),
        (["--charge", LAW, "--over", "budget.epsilon=1..3"], "give its values"),
        (["--charge", LAW, "--over", "seed=1,2"], "a seed of its own"),
        (["--charge", LAW, "--over", "budget.epsilon=1,none"], "promises nothing to charge"),
        (["--charge", LAW, "--over", "budget.delta=1e-5,1e-6"], "the same in all trials"),
        (["--charge", LAW, "-s", "budget.unit=client"], "training.noise=secure"),
        (["--charge", LAW, "-s", "federation.engine=superlink"], "engine=cohort"),
        (["--charge", LAW, "--over", "arithmetic.bits=3,4"], "would change nothing"),
    ],
)
def test_what_cannot_be_charged_is_refused_in_a_line(privet, runs, arguments, says):
    status, out, err = privet("sweep", "tiny", *arguments)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert says in err
    assert not runs.exists()


def test_one_run_is_told_and_its_epsilon_counts_the_search(privet, runs, monkeypatch):
    """Stopped in its second trial, it draws nothing again, and comes to the best of all."""
    trained = []

    def train(experiment, path):
        if len(trained) == 1:
            trained.append(None)
            raise Interrupted("now")
        run = launch(experiment, path)
        trained.append((run.rounds[-1].accuracy, run.path.name))
        assert run.path.parent == runs / "s.sweep" / "trials"
        return run

    launch = stages.train
    monkeypatch.setattr("server.sweep.sweep.train", train)
    monkeypatch.setattr(charged.Trials, "count", lambda self, key: 3)
    assert privet(*SEARCH)[0] == 130
    drawn = Sweep.open(runs / "s.sweep").document
    with pytest.raises(Exception, match="nothing of it may be told"):
        gather(["s"], runs)
    monkeypatch.setattr("server.sweep.charged.Key", None)  # no draw
    status, out, err = privet(*SEARCH)
    assert status == 0, err
    ended = Sweep.open(out.strip())
    scores = [found for found in trained if found]
    assert len(scores) == len(drawn.cells) == 3
    best = max(scores, key=lambda found: found[0])[1]
    (cell,) = ended.cells
    assert (cell.run, cell.point) in [(best, drawn_cell.point) for drawn_cell in drawn.cells]
    assert not (ended.path / "trials").exists()
    assert [path.name for path in runs.iterdir() if (path / "rounds.jsonl").is_file()] == [best]
    assert "accuracy 0" not in err

    run = Run.open(runs / best)
    summary = summarise(run)
    spends_most = drawn.charge.epsilon_of_a_trial
    assert spends_most == pytest.approx(4, rel=0.01)
    sigma = ended.experiment_of({"budget.epsilon": 4}).resolve().budget.noise_multiplier
    orders = [1 + math.exp(x / 4) for x in range(-8, 10)]
    divergences = {order: 2 * step_divergence(order, sigma, 0.25) for order in orders}
    oracle = charged_epsilon(divergences.__getitem__, orders, 3, 1.0, 1e-5)
    assert oracle * 0.97 < summary.epsilon < oracle * 1.005
    assert (
        summary.epsilon
        == drawn.charge.epsilon
        == json.loads((run.path / "charge.json").read_text())["epsilon"]
    )
    assert "counts the search" in summary.searched
    told = str(limits(gather(["s"], runs).runs))
    assert summary.searched in told
    assert "by its accuracy on the test set" in told
    require(run.path)

    monkeypatch.setattr("server.sweep.sweep.train", None)
    assert privet(*SEARCH)[1] == out
    status, _, err = privet(*SEARCH[:-2], "--over", "budget.clip=1,2", "--name", "s")
    assert (status, "give another --name" in err) == (2, True)
    (run.path / "charge.json").write_text("{")
    assert "charge.json: damaged" in privet("show", best)[2]


def drawn_of(tmp_path, name, *fixed):
    document = Document(experiment="tiny", command=[], fixed=list(fixed), axes={})
    sweep = Sweep(tmp_path / name, document)
    sweep.path.mkdir()
    axes = parse_axes(["training.learning_rate=0.1..2", "model.hidden=[8],[16]"])
    charged.draw(sweep, charged.charged(sweep, "geometric=8", axes))
    return sweep.document


def test_seeded_draws_repeat_and_secure_ones_do_not(tmp_path):
    first, again, other = (
        drawn_of(tmp_path, f"{i}.sweep", f"seed={seed}") for i, seed in enumerate((1, 1, 2))
    )
    assert first.cells == again.cells
    assert first.cells != other.cells
    assert len({cell.seed for cell in first.cells}) == len(first.cells)
    secure, anew = (
        drawn_of(tmp_path, name, "training.noise=secure") for name in ("a.sweep", "b.sweep")
    )
    assert {cell.digest for cell in secure.cells}.isdisjoint(cell.digest for cell in anew.cells)
    assert {cell.seed for cell in secure.cells} <= {0}  # records stay where they are
