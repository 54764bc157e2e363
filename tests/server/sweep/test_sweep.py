"""`privet sweep`: grids and searches that go on where they stopped, whatever fails on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from clients.node import app as client_room
from privacy.errors import RunError, SettingsError
from server import cli
from server.cost import cost_of_experiment, cost_of_run
from server.experiment.loading import load_experiment
from server.run.directory import Run
from server.sweep import stages
from server.sweep.axes import Range, grid, parse_axes, parse_axis
from server.sweep.document import Cell
from server.sweep.grid import digest_of
from server.sweep.objectives import parse_limit
from server.sweep.search import Search
from server.sweep.sweep import Sweep

QUICK = ["-s", "federation.rounds=1", "-s", "federation.clients=2"]


@pytest.fixture
def privet(runs, monkeypatch, capfd):
    """Call the command line in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["privet", *arguments])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        out, err = capfd.readouterr()
        return int(leave.value.code or 0), out, err

    return call


# ---- axes


def test_values_bring_settings_along_and_have_names():
    axis = parse_axis(
        "arithmetic.name=float,fixed+arithmetic.bits=4+model.hidden=[8,8],"
        "bits: stochastic+arithmetic.stream_length=16"
    )
    assert axis.labels == ["float", "fixed", "bits"]
    assert axis.at("fixed") == {
        "arithmetic.name": "fixed",
        "arithmetic.bits": 4,
        "model.hidden": [8, 8],
    }
    assert axis.at("bits") == {"arithmetic.name": "stochastic", "arithmetic.stream_length": 16}


def test_none_of_an_epsilon_is_no_promise():
    axis = parse_axis("budget.epsilon=.5,3,none+training.learning_rate=1e-2,x: budget.unit=none")
    assert axis.labels == [0.5, 3, "none", "x"]
    assert axis.at("none") == {"budget.unit": "none", "training.learning_rate": 0.01}
    assert axis.at("x") == {"budget.unit": "none"}


def test_a_grid_is_every_combination_and_the_later_axis_wins():
    axes = parse_axes(["budget.epsilon=1,2", "budget.clip=1,both: 2+budget.epsilon=3"])
    assert list(grid(axes)) == [
        ({"budget.epsilon": 1, "budget.clip": 1}, {"budget.epsilon": 1, "budget.clip": 1}),
        ({"budget.epsilon": 1, "budget.clip": "both"}, {"budget.epsilon": 3, "budget.clip": 2}),
        ({"budget.epsilon": 2, "budget.clip": 1}, {"budget.epsilon": 2, "budget.clip": 1}),
        ({"budget.epsilon": 2, "budget.clip": "both"}, {"budget.epsilon": 3, "budget.clip": 2}),
    ]
    assert list(grid([])) == [({}, {})]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1..5", Range(1, 5, False)),
        ("a.b=0.05..1 log", Range(0.05, 1, True)),
        ("a.b=1e-3..1e1", Range(0.001, 10, False)),
    ],
)
def test_ranges(text, expected):
    assert parse_axis(text).range == expected
    assert isinstance(parse_axis("a.b=1..5").range.high, int)


# ---- the command line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--over", "budget.epsilon"], "must be section.key=value,value"),
        (["--over", "budget.epsilon=1,,2"], "an empty value"),
        (["--over", "budget.epsilon=1,1"], "is there twice"),
        (["--over", "seed=1", "--over", "seed=2"], "given twice"),
        (["--over", "budget.epsilon=1..2"], "a range is for --search"),
        (["--over", "budget.epsilon=5..2", "--search", "accuracy"], "a range goes up"),
        (["--over", "budget.epsilom=1,2"], "did you mean epsilon?"),
        (["--over", "arithmetic.name=float,flaot", "--over", "seed=1,2"], "did you mean float?"),
        (["--over", "budget.epsilon=1,2", "-s", "budget.unit=none"], "promises nothing"),
        (["--over", "data.name=mnist,digits"], "mnist"),
        (["--cost", "stm"], "no such chip"),
        (["--infer", "ckk"], "did you mean ckks?"),
        (["--infer", "ckks=many"], "must be SCHEME=NUMBER"),
        (["--infer", "ckks"], "cannot be evaluated under CKKS"),
        (["--audit", "-s", "budget.unit=none"], "there is no noise to audit"),
        (["--name", "../x"], "one plain folder name"),
        (["--search", "accuracy"], "over what?"),
        (["--search", "acuracy", "--over", "seed=1..5"], "did you mean accuracy?"),
        (["--search", "latency", "--over", "seed=1..5"], "on which chip?"),
        (["--limit", "latency_s=1@tpu"], "is for --search"),
        (["--search", "accuracy", "--over", "seed=1,2", "--limit", "latency=1@tpu"], "latency_s"),
        (["--search", "accuracy", "--over", "seed=1,2", "--limit", "latency_s=1"], "of which chip"),
        (["--search", "accuracy", "--over", "seed=1,2", "--limit", "latency_s=x@tpu"], "NUMBER"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_nothing_is_made(
    privet, runs, tmp_path, monkeypatch, arguments, says
):
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "nothing"))
    status, out, err = privet("sweep", "tiny", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert not runs.exists()


def test_a_grid_is_run_once_and_kept_as_json(privet, runs, monkeypatch):
    command = ["sweep", "tiny", *QUICK, "--over", "budget.epsilon=8,none", "--seeds", "2"]
    command += ["--over", "arithmetic.name=float,fixed", "--cost", "stm32h743", "--cost", "tpu"]
    status, out, err = privet(*command)
    assert status == 0, err
    found = Sweep.open(out.strip())
    assert found.path.parent == runs
    assert len(err.splitlines()) == len(found.cells) == len(found.runs) == 8
    assert [c.seed for c in found.cells] == [0] * 4 + [1] * 4
    assert found.document.axes == {
        "budget.epsilon": [8, "none"],
        "arithmetic.name": ["float", "fixed"],
    }
    for cell, run in zip(found.cells, found.runs, strict=True):
        assert cell.run == run.path.name
        assert {n: s.status for n, s in cell.stages.items()} == {"run": "done", "cost": "done"}
        experiment = run.experiment
        assert experiment.budget.unit == cell.settings.get("budget.unit", "record")
        assert experiment.arithmetic.name == cell.settings["arithmetic.name"]
        assert experiment.seed == cell.seed
        assert len(run.costs) == 2
    text = json.loads((found.path / "sweep.json").read_text())
    assert text["format"] == 1
    assert text["command"] == ["privet", *command]
    assert text["cells"][0]["settings"] == {"budget.epsilon": 8, "arithmetic.name": "float"}

    def never(*_):
        raise AssertionError("it is done")

    for name in ("launch", "resume", "cost_of_run"):
        monkeypatch.setattr(stages, name, never)
    assert privet(*command)[:2] == (0, out)
    # Another sweep finds the run of the same settings, whatever they are called.
    status, out, _ = privet("sweep", "tiny", *QUICK, "-s", "budget.epsilon=8", "--json")
    assert status == 0
    assert json.loads(out)["cells"][0]["run"] == found.cells[0].run


def test_a_stage_is_done_with_runs_that_are_there(privet, runs, monkeypatch):
    command = ["sweep", "tiny", *QUICK, "--over", "budget.epsilon=8,none", "--name", "mine"]
    assert privet(*command)[0] == 0
    monkeypatch.setattr(stages, "launch", None)
    status, _, err = privet(*command, "--audit")
    assert status == 0, err
    assert "left out of 1 run: audit: [budget] unit = 'none'" in err
    found = Sweep.open(runs / "mine.sweep")
    assert found.cells[0].stages["audit"].status == "done"
    assert "audit" not in found.cells[1].stages
    assert found.runs[0].audit["passed"]
    monkeypatch.setattr(stages, "audit_of", None)
    assert privet(*command, "--audit")[0] == 0


def test_a_failed_cell_does_not_stop_the_others(privet, runs, monkeypatch):
    """Settings that do not go together, and a device that fails: status 1, one line each."""
    train = client_room.train

    def fail_in_float(net, records, members, job, *rest):
        if job.arithmetic.name == "float" and job.budget.unit == "record":
            raise RuntimeError("no\npower")
        return train(net, records, members, job, *rest)

    monkeypatch.setattr(client_room, "train", fail_in_float)
    command = ["sweep", "tiny", *QUICK, "--over", "budget.epsilon=8,none", "--name", "mine"]
    command += ["--over", "arithmetic.name=float,fixed+training.per_sample=hooks,ternary"]
    command += ["--over", "training.per_sample=compiled,hooks"]
    status, out, err = privet(*command)
    assert (status, out) == (1, f"{runs / 'mine.sweep'}\n")
    cells = Sweep.open(out.strip()).cells
    failed = {c.name: c.error for c in cells if c.status == "failed"}
    assert len(cells) == 12
    told = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(told) == len(failed) == 6
    assert sum("no power" in line for line in told) == 2
    assert sum("per_sample = 'hooks'" in line for line in told) == 4
    assert {c.status for c in cells} == {"done", "failed"}

    monkeypatch.setattr(client_room, "train", train)  # what failed is tried again
    status, _, err = privet(*command)
    assert status == 1
    assert "no power" not in err
    assert sum(c.status == "done" for c in Sweep.open(runs / "mine.sweep").cells) == 8


def test_a_failed_stage_is_told_and_the_next_is_done(privet, runs, monkeypatch):
    from sabotaged import no_noise

    no_noise(monkeypatch)
    command = ["sweep", "tiny", *QUICK, "--audit", "--cost", "tpu", "--name", "mine"]
    status, _, err = privet(*command)
    assert status == 1
    assert "the audit failed: " in err
    (cell,) = Sweep.open(runs / "mine.sweep").cells
    assert {n: s.status for n, s in cell.stages.items()} == {
        "run": "done",
        "audit": "failed",
        "cost": "done",
    }
    assert not Run.open(runs / cell.run).audit["passed"]


def test_killed_in_a_cell_it_goes_on_there(privet, runs):
    """A real SIGKILL in the middle of a run: the next call resumes that very run."""
    asked = ["sweep", "tiny", "--over", "seed=1,2", "--name", "mine", "-s", "federation.clients=2"]
    asked += ["-s", "federation.rounds=40"]
    process = subprocess.Popen(
        [sys.executable, "-m", "server", *asked],
        env={**os.environ, "PRIVET_RUNS": str(runs)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(runs.glob("tiny-*/rounds/002.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait(60)
    (half,) = [run for run in runs.glob("tiny-*") if (run / "experiment.toml").exists()]
    done = Run.open(half).rounds
    assert 1 <= len(done) < 40
    assert Sweep.open(runs / "mine.sweep").cells[0].status == "running"

    status, _, err = privet(*asked)
    assert status == 0, err
    found = Sweep.open(runs / "mine.sweep")
    assert [cell.status for cell in found.cells] == ["done", "done"]
    assert found.runs[0].path == half
    after = found.runs[0].rounds
    assert len(after) == 40
    assert [r.seconds for r in after[: len(done)]] == [r.seconds for r in done]


def test_ctrl_c_leaves_a_cell_that_waits(privet, runs, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(client_room, "train", stop)
    status, out, err = privet("sweep", "tiny", *QUICK, "--name", "mine")
    assert (status, out) == (130, "")
    assert err == "privet: interrupted; go on with the same command\n"
    assert Sweep.open(runs / "mine.sweep").cells[0].status == "pending"
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_one_process_writes_a_sweep(privet, runs):
    assert privet("sweep", "tiny", *QUICK, "--name", "mine")[0] == 0
    with Sweep.open(runs / "mine.sweep").locked():
        status, out, err = privet("sweep", "tiny", *QUICK, "--name", "mine")
    assert (status, out) == (2, "")
    assert "another process is writing this sweep" in err


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[1"])
def test_a_damaged_sweep_is_refused(tmp_path, text):
    with pytest.raises(RunError, match="not a sweep"):
        Sweep.open(tmp_path)
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(RunError, match=r"damaged at .*; remove it"):
        Sweep.open(tmp_path)


def test_a_sweep_names_only_runs_beside_it(privet, runs, tmp_path):
    """`..` in a foreign sweep.json leads nowhere."""
    out = privet("sweep", "tiny", *QUICK)[1]
    found = Sweep.open(out.strip())
    found.cells[0].run = f"../{runs.name}/{found.cells[0].run}"
    assert found.runs == []


def test_encrypted_inference_is_kept_in_the_run(privet, runs):
    """A real service and real ciphertexts, for the one cell that squares can answer."""
    command = ["sweep", "tiny", *QUICK, "--over", "model.activation=relu,square"]
    command += ["-s", "model.hidden=[8]", "-s", "model.pool=2", "--infer", "ckks=2"]
    status, out, err = privet(*command)
    assert status == 0, err
    assert "left out of 1 run: infer: ckks: ReLU cannot be evaluated under CKKS" in err
    relu, square = Sweep.open(out.strip()).runs
    assert relu.kept("inference.json") == {}
    assert square.kept("inference.json")["ckks"]["images"] == 2


def test_the_cost_of_a_run_is_known_before_it(privet, runs):
    from clients.chip import load_chip
    from server.engines.launch import launch

    experiment = load_experiment("tiny", ["federation.rounds=1"]).resolve()
    chip = load_chip("stm32h743")
    before = cost_of_experiment(experiment, chip).as_dict()
    after = cost_of_run(launch(experiment, runs), chip).as_dict()
    assert before | {"subject": ""} == after | {"subject": ""}


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
