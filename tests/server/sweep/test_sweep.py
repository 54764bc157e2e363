"""`privet sweep`: grids and searches that go on where they stopped, whatever fails on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from clients.node import app as client_room
from privacy.errors import RunError
from server.cost import cost_of_experiment, cost_of_run
from server.experiment.loading import load_experiment
from server.run.directory import Run
from server.sweep import stages
from server.sweep.axes import Range, grid, parse_axes, parse_axis
from server.sweep.sweep import Sweep

QUICK = ["-s", "federation.rounds=1", "-s", "federation.clients=2"]


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
        (["--over", "training.learning_rate=nan,1"], "nan is no number"),
        (["--over", "seed=1", "--seeds", "99999999999999999999"], "not in the range"),
        (["--over", "seed=9223372036854775807", "--seeds", "2"], "is beyond"),
        (["--over", "seed=0..99999999999999999999", "--search", "accuracy"], "ends within"),
        (["--over", "training.clip=1..1e999", "--search", "accuracy"], "ends within"),
        (["--over", "seed=1", "--infer", "ckks=²"], "must be SCHEME=NUMBER"),
        (["--over", "budget.epsilon=1..2"], "a range is for --search"),
        (["--over", "budget.epsilon=5..2", "--search", "accuracy"], "a range goes up"),
        (["--over", "budget.epsilom=1,2"], "did you mean epsilon?"),
        (["--over", "arithmetic.name=float,flaot", "--over", "seed=1,2"], "did you mean float?"),
        (["--over", "budget.epsilon=1,2", "-s", "budget.unit=none"], "needs a [budget] unit"),
        (["--over", "data.name=mnist,digits"], "mnist"),
        (["--cost", "stm"], "no such chip"),
        (["--infer", "ckk"], "did you mean ckks?"),
        (["--infer", "ckks=many"], "must be SCHEME=NUMBER"),
        (["--infer", "ckks", "-s", "model.name=cnn1d"], "cannot be evaluated under CKKS"),
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
    *events, last = [json.loads(line) for line in out.splitlines()]
    assert (last["event"], last["cells"][0]["run"]) == ("end", found.cells[0].run)
    assert [(told["event"], told["status"]) for told in events] == [
        ("cell", "running"),
        ("cell", "done"),
    ]


def test_a_sweep_tells_programs_of_each_cell_and_round(privet, runs):
    command = ["sweep", "tiny", *QUICK, "--over", "budget.epsilon=8,none", "--json"]
    status, out, _ = privet(*command, "-s", "federation.rounds=2")
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    cell = ["cell", "round", "round", "cell"]
    assert [told["event"] for told in events] == [*cell, *cell, "end"]
    assert [told["cell"] for told in events[:-1]] == [1] * 4 + [2] * 4
    assert [told["left_s"] == 0 for told in events[1:3]] == [False, True]
    assert events[3]["stages"] == {"run": "done"}
    assert events[5]["epsilon"] is None


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
    """A real service and real ciphertexts, for the one cell without a norm."""
    command = ["sweep", "tiny", *QUICK, "--over", "model.norm=group,none", "--infer", "ckks=2"]
    settings = ("name=cnn1d", "pooling=mean", "activation=square", "width=2", "depth=1")
    command += [word for text in settings for word in ("-s", f"model.{text}")]
    status, out, err = privet(*command)
    assert status == 0, err
    assert "left out of 1 run: infer: ckks: layer 2 of 7, GroupNorm cannot be evaluated" in err
    grouped, plain = Sweep.open(out.strip()).runs
    assert grouped.kept("inference.json") == {}
    assert plain.kept("inference.json")["ckks"]["images"] == 2


def test_the_cost_of_a_run_is_known_before_it(privet, runs):
    from clients.chip import load_chip
    from server.engines.launch import launch

    experiment = load_experiment("tiny", ["federation.rounds=1"]).resolve()
    chip = load_chip("stm32h743")
    before = cost_of_experiment(experiment, chip).as_dict()
    after = cost_of_run(launch(experiment, runs), chip).as_dict()
    known_by_records = {"subject": "", "saved": None}
    assert before | known_by_records == after | known_by_records
