"""`privet sweep --search`."""

import random
from operator import ge
from types import SimpleNamespace

import numpy as np
import pytest
from test_sweep import QUICK

from privacy.errors import RunError, SettingsError
from server.experiment.loading import load_experiment
from server.run import summary
from server.run.directory import Run
from server.sweep import stages
from server.sweep.axes import parse_axis
from server.sweep.document import Cell
from server.sweep.grid import digest_of
from server.sweep.objectives import OBJECTIVES, parse_limit
from server.sweep.proposals.evolution import ranked
from server.sweep.proposals.screening import improvement, screened
from server.sweep.proposals.told import Told
from server.sweep.search import Search
from server.sweep.sweep import Sweep

# ---- search

SEARCH = ["sweep", "tiny", "--search", "accuracy,latency", "--budget", "5", "--name", "sought"]


SEARCH += ["--over", "model.hidden=[8],[16],[600,600]", "--over", "budget.clip=0.2..2 log"]


SEARCH += ["--over", "federation.rounds=1..2", "-s", "federation.clients=2"]


SEARCH += ["--cost", "stm32h743", "--limit", "peak_bytes=400e3"]


def test_a_search_prunes_what_does_not_fit_and_goes_on(privet, runs, monkeypatch):
    status, out, err = privet(*SEARCH)
    assert status == 0, err
    found = Sweep.open(out.strip())
    done = [c for c in found.cells if c.status == "done"]
    pruned = [c for c in found.cells if c.status == "pruned"]
    assert len(done) == 5
    assert pruned, "the seed draws a wide net in so many candidates"
    for cell in pruned:
        assert cell.settings["model.hidden"] == [600, 600]
        assert cell.run is None
        assert "peak_bytes" in cell.error
    for cell in done:
        run = Run.open(runs / cell.run)
        assert cell.figures["accuracy"] == run.rounds[-1].accuracy
        assert cell.figures["latency"] == run.costs[0]["inference"]["latency_s"]
        assert 0.2 <= cell.settings["budget.clip"] <= 2
        assert run.experiment.federation.rounds in (1, 2)
    front = set(found.document.search.front)
    assert front
    for cell in done:
        better = [
            other
            for other in done
            if other.figures["accuracy"] >= cell.figures["accuracy"]
            and other.figures["latency"] <= cell.figures["latency"]
            and other.figures != cell.figures
        ]
        assert (cell.digest in front) == (not [o for o in better if o.figures != cell.figures])
    assert "Pareto front" in err

    # Stopped after two candidates, it goes on to the same end.
    document = found.document.model_copy(deep=True)
    found.document.cells = found.document.cells[:2]
    found.save()
    trained = []
    launch = stages.launch
    monkeypatch.setattr(stages, "launch", lambda *a: trained.append(a) or launch(*a))
    assert privet(*SEARCH)[0] == 0
    again = Sweep.open(found.path).document
    assert [c.point for c in again.cells] == [c.point for c in document.cells]
    assert again.search == document.search
    assert trained == []


def tried(point, accuracy, latency, status="done"):
    figures = {"accuracy": accuracy, "latency": latency, "latency_s=1@tpu": latency}
    return [Cell(settings={}, point=point, seed=0, digest="", status=status, figures=figures)]


def test_the_sampler_learns_from_limits_and_values():
    """Told that wide nets break the limit and that large x is better, it asks accordingly."""
    axes = [parse_axis("x.y=0.0..1.0"), parse_axis("a.b=thin,wide")]
    limit = parse_limit("latency_s=1@tpu", [])
    search = Search(axes, ["accuracy", "latency"], [limit], budget=8, chip="tpu")
    history = []
    for i in range(24):
        x = (i + 0.5) / 24
        wide = bool(i % 2)
        point = {"x.y": x, "a.b": "wide" if wide else "thin"}
        history.append(tried(point, x, 9.0 if wide else 0.5, "pruned" if wide else "done"))
    asked = []
    for _ in range(12):
        point = search.propose(history + asked)
        asked.append(tried(point, point["x.y"], 0.5 if point["a.b"] == "thin" else 9.0))
        asked[-1][0].status = "done" if point["a.b"] == "thin" else "pruned"
    assert sum(cells[0].point["a.b"] == "thin" for cells in asked) >= 9
    assert sum(cells[0].point["x.y"] for cells in asked) / 12 > 0.6
    assert search.propose(history) == search.propose(history)  # a function of what was tried


def test_a_search_ends_where_nothing_is_left(privet, runs):
    search = Search([parse_axis("a.b=1,2,3")], ["accuracy"], [], budget=30)
    history = []
    while point := search.propose(history):
        history.append(tried(point, 0.5, 1))
    assert sorted(cells[0].point["a.b"] for cells in history) == [1, 2, 3]


def test_candidates_are_judged_by_the_mean_of_their_seeds():
    search = Search([parse_axis("a.b=1,2")], ["accuracy"], [], budget=2, num_seeds=2)
    pair = tried({"a.b": 1}, 0.4, 1) + tried({"a.b": 1}, 0.6, 1)
    assert search.values(pair) == [0.5]
    assert search.front([pair, tried({"a.b": 2}, 0.7, 1)])[0][0].point == {"a.b": 2}
    pair[0].status = "failed"
    assert search.front([pair]) == []


def test_settings_that_do_not_go_together_are_no_proposal_to_learn_from(privet, runs):
    status, _, _ = privet(
        "sweep", "tiny", *QUICK, "--search", "accuracy", "--budget", "3", "--name", "odd",
        "--over", "arithmetic.name=float,fixed", "--over", "training.per_sample=hooks,compiled",
    )  # fmt: skip
    assert status in (0, 1)
    cells = Sweep.open(runs / "odd.sweep").cells
    assert len(cells) == 3
    for cell in cells:
        clash = cell.point == {"arithmetic.name": "fixed", "training.per_sample": "hooks"}
        assert cell.status == ("failed" if clash else "done")
    assert status == int(any(cell.status == "failed" for cell in cells))


def test_digests_differ_where_runs_would():
    one = load_experiment("tiny")
    assert digest_of(one) == digest_of(load_experiment("tiny", ["title=x", "federation.workers=2"]))
    for change in ("seed=1", "budget.epsilon=7", "record.updates=true", "attack.shadows=16"):
        assert digest_of(one) != digest_of(load_experiment("tiny", [change]))
    with pytest.raises(SettingsError, match="unknown key"):
        load_experiment("tiny", ["budget.x=1"])


def slowly_ranked(scores):
    """The place of each score's front: how long is the longest chain of ever better ones."""

    def beaten(i):
        better = [j for j, s in enumerate(scores) if s != scores[i] and all(map(ge, s, scores[i]))]
        return 1 + max(map(beaten, better), default=-1)

    return [beaten(i) for i in range(len(scores))]


def test_evolution_crosses_the_best_and_goes_on_as_if_it_had_not_stopped():
    dice = random.Random(3)
    scores = [(dice.randint(0, 9), dice.randint(0, 9)) for _ in range(40)]
    fronts = slowly_ranked(scores)
    assert [fronts[i] for i in ranked(scores)] == sorted(fronts)
    axes = [parse_axis("a=1..1000 log"), parse_axis("b=0.0..1.0"), parse_axis("c=x,y,z")]

    def sought(by, budget=60):
        search, tried = Search(axes, ["accuracy", "epsilon"], [], budget, by=by), []
        while len(tried) < budget:
            point = search.propose(tried)
            assert point == search.propose(list(tried))
            assert 1 <= point["a"] <= 1000
            assert 0 <= point["b"] <= 1
            cell = Cell(settings={}, point=point, seed=0, digest=str(len(tried)), status="done")
            good = (point["c"] == "y") - abs(point["b"] - 0.7)
            cell.figures = {"accuracy": good, "epsilon": float(point["a"])}
            tried.append([cell])
        return sum(good for good, _ in search.scores(tried)) / budget

    assert sought("evolution") > sought("random") + 0.1
    assert sought("predictor", 16) > sought("random", 16) + 0.1


def test_a_predictor_asks_for_what_keeps_to_the_limits():
    axes = [parse_axis("x.y=0.0..1.0"), parse_axis("a.b=thin,wide")]
    told = []
    for i in range(20):
        x, wide = (i + 0.5) / 20, bool(i % 2)
        over = {"latency_s=1@tpu": 2.0 if wide else -0.7}
        told.append(
            Told({"x.y": x, "a.b": "wide" if wide else "thin"}, None if wide else (x, -x), over)
        )
    best = screened(axes, told, random.Random(0))[:50]
    assert {point["a.b"] for point in best} == {"thin"}
    free = [
        one._replace(scores=(1.0, 1.0) if one.scores is None else one.scores, over={})
        for one in told
    ]
    assert "wide" in {point["a.b"] for point in screened(axes, free, random.Random(0))[:50]}


def test_the_gain_that_is_expected_of_a_point_against_a_slow_count():
    rng = np.random.default_rng(0)
    means, deviations, front = (
        rng.normal(size=(4, 3)),
        rng.uniform(size=(4, 3)),
        rng.normal(size=(5, 3)),
    )

    def slowly(mean, deviation):
        total = 0.0
        for _ in range(4000):
            draw = [rng.normal(m, d) for m, d in zip(mean, deviation, strict=True)]
            least = min(max(y - f for y, f in zip(draw, other, strict=True)) for other in front)
            total += max(0.0, least)
        return total / 4000

    found = improvement(means, deviations, front, 1)
    assert found == pytest.approx(
        [slowly(*row) for row in zip(means, deviations, strict=True)], abs=0.2
    )
    sure = improvement(front + 0.5, np.zeros_like(front), front[:1], 1)
    assert sure[0] == pytest.approx(0.5)
    assert improvement(front[:1] - 0.1, np.zeros((1, 3)), front[:1], 1) == [0.0]


def test_encrypted_latency_is_what_was_measured_of_these_weights(privet, tmp_path):
    told = {"images": 2, "weights": "w", "total_ms": 31.5}
    run = SimpleNamespace(
        path=tmp_path, inference={"ckks": told, "boolean": told | {"total_ms": 9e3}}
    )
    read = OBJECTIVES["encrypted-latency"].read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "weights_sha256", lambda run: "w")
        assert read(run) == 31.5
        patch.setattr(summary, "weights_sha256", lambda run: "others")
        with pytest.raises(RunError, match="has no time of an answer"):
            read(run)
    status, _, err = privet("sweep", "tiny", "--over", "seed=1,2", "--search", "encrypted-latency")
    assert status == 2
    assert "--infer ckks" in err


def test_an_unknown_way_to_search_is_refused(privet):
    status, _, err = privet(*SEARCH, "--by", "evolutoin")
    assert status == 2
    assert "did you mean evolution" in err
    status, _, err = privet("sweep", "tiny", "--over", "seed=1,2", "--by", "random")
    assert status == 2
    assert "--by" in err
