"""The command line: results on stdout, one line for what went wrong, and the exit status."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from server import cli, garbage
from server.watch import listen


@pytest.fixture
def privet(runs, monkeypatch, capfd):
    """Call the command line in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["privet", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as leave:
            status = int(leave.code or 0)
        out, err = capfd.readouterr()
        return status, out, err

    return call


def test_run_prints_the_path_and_nothing_else(privet, runs):
    """`privet show $(privet run tiny)` works; people read stderr."""
    status, out, err = privet("run", "tiny", "-s", "federation.rounds=1", "--name", "first")
    assert (status, out) == (0, f"{runs / 'first'}\n")
    assert "epsilon" in err
    assert len(err.splitlines()) == 1

    status, out, _ = privet("show", "latest", "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["rounds"] == "1 of 1"
    assert 7.9 < facts["epsilon"] <= 8
    assert facts["epsilon_full_participation"] >= facts["epsilon"]
    assert facts["delta"] == 1e-5
    assert facts["accountant"] == "PRV (Opacus)"
    assert "Poisson" in facts["sampling"]

    status, out, err = privet("show", "first")
    assert (status, err) == (0, "")
    assert "full participation" in out
    status, out, _ = privet("list", "--json")
    listed = json.loads(out)
    assert [r["run"] for r in listed["runs"]] == ["first"]
    assert {"tiny", "baseline", "dp", "dp-central"} <= set(listed["experiments"])
    assert privet("list")[0] == 0
    status, out, _ = privet("resume", "first")
    assert (status, out) == (0, f"{runs / 'first'}\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "tinny"], "no such experiment; did you mean tiny?"),
        (["run", "tiny", "-s", "budget.epsilom=3"], "unknown key; did you mean epsilon?"),
        (["run", "tiny", "-s", "budget.epsilon=-3"], "must be from 1e-06 to 1e+09"),
        (["run", "tiny", "-s", "budget.epsilon=yes"], "input should be a valid number"),
        (["run", "tiny", "-s", "federation.clients=2000"], "more clients than the 1437 records"),
        (["run", "tiny", "-s", "data.name=idx", "-s", "data.path=/nowhere"], "not there"),
        (["run", "tiny", "-s", "model.name=convnet"], "use perceptron or scatter"),
        (
            ["plan", "tiny", "-s", f"model.hidden={[1 << 16] * 3}"],
            "8,594,980,874 weights; a device takes",
        ),
        (["cost", "perceptron", "-s", f"model.hidden={[1 << 16] * 3}"], "up to 268,435,456: ask"),
        (["run", "tiny", "--runs", "/dev/null/x"], "cannot be written"),
        (["run", "tiny", "--name", "../x/y/.."], "one plain folder name"),
        (["run"], "Missing argument 'EXPERIMENT'"),
        (["fly"], "No such command 'fly'"),
        (["show", "nothing"], "not a run directory"),
        (["show", "latest"], "no runs yet"),
        (["resume", "nothing"], "not a run directory"),
        (["data", "fetch", "imagenet"], "not a data set to fetch"),
        (["run", "tiny", "-s", "federation.engine=superlink"], "needs address"),
        (["run", "tiny", "-s", "seed=" + "1" * 5000], "a valid integer"),
        (["run", "tiny", "-s", "model.hidden=" + "[" * 5000], "must be a list: [value, ...]"),
        (["run", "ti\nny"], "has a line break"),
        (["keys", "new", "k", "--host", "ü"], "not the name or address of a machine"),
        (["keys", "new", "k", "--host", ""], "not the name or address of a machine"),
        (["show", "x\u2028y"], "has a line break"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_status_2(privet, runs, arguments, says):
    status, out, err = privet(*arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert err.startswith("privet: ")
    assert not runs.exists() or not list(runs.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--classes 10", "either --epsilon-limit EPSILON or --no-epsilon-limit"),
        ("--epsilon-limit 3 --no-epsilon-limit --classes 10", "either --epsilon-limit"),
        ("--epsilon-limit 3 --allow-unprotected --classes 10", "--no-epsilon-limit with it"),
        ("--epsilon-limit 3", "labels in nodes/node-0 go up to 9: say --classes 10"),
        ("--epsilon-limit 3 --classes 7", "nodes/node-0 has a label 9; say 10"),
    ],
)
def test_a_node_gives_nothing_that_its_owner_did_not_ask_for_by_name(
    privet, runs, tmp_path, monkeypatch, options, says
):
    monkeypatch.chdir(tmp_path)
    assert privet("data", "split", "tiny", "nodes", "-s", "federation.clients=3")[0] == 0
    where = "--data nodes/node-0 --ledger l --client 0 --of 3 --link 127.0.0.1:1"
    status, out, err = privet("node", *where.split(), *options.split())
    assert (status, out) == (2, "")
    assert err.startswith("privet: ")
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_node_tells_its_owner_first_what_servers_may_learn(privet, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("clients.node.machine.run_node", asked.append)
    monkeypatch.chdir(tmp_path)
    assert privet("data", "split", "tiny", "nodes", "-s", "federation.clients=3")[0] == 0
    where = "--data nodes/node-0 --ledger l --client 0 --of 3 --link 127.0.0.1:1 --classes 12"
    for options, config in {
        "--epsilon-limit 3": {"epsilon-limit": 3.0, "allow-unprotected": False},
        "--no-epsilon-limit --allow-unprotected --records 400": {
            "no-epsilon-limit": True,
            "allow-unprotected": True,
        },
    }.items():
        status, _, err = privet("node", *where.split(), *options.split())
        assert status == 0, err
        records = 400 if "400" in options else 431
        assert f"labels under 12, images of 8x8, {records} for training" in err
        told = asked.pop().config
        assert told.items() >= config.items()
        assert told.items() >= {"classes": 12, "height": 8, "width": 8, "records": records}.items()
        assert ("epsilon-limit" in told) != ("no-epsilon-limit" in told)


def test_a_run_that_exists_is_not_touched(privet, runs):
    assert privet("run", "tiny", "-s", "federation.rounds=1", "--name", "mine")[0] == 0
    before = sorted((p, p.stat().st_mtime_ns) for p in runs.rglob("*"))
    status, _, err = privet("run", "tiny", "--name", "mine")
    assert status == 2
    assert "mine: exists; resume it, or choose another --name" in err
    assert sorted((p, p.stat().st_mtime_ns) for p in runs.rglob("*")) == before


def test_a_model_that_is_not_dp_safe_is_refused(privet, tmp_path, runs):
    import numpy as np
    from written import write_idx

    for stem in ("train", "t10k"):
        write_idx(tmp_path, f"{stem}-images-idx3-ubyte", np.zeros((40, 20, 20), np.uint8))
        write_idx(tmp_path, f"{stem}-labels-idx1-ubyte", np.arange(40, dtype=np.uint8) % 10)
    data = ["-s", "data.name=idx", "-s", f"data.path={tmp_path}"]
    status, _, err = privet(
        "run", "tiny", *data, "-s", "model.name=convnet", "-s", "model.norm=batch"
    )
    assert status == 2
    assert "not DP-safe: BatchNorm" in err
    assert "norm = 'group'" in err
    assert not runs.exists()


def test_a_failed_run_is_status_1_and_says_why(privet, runs, monkeypatch):
    from clients.node import app as client_room

    def fail(*_):
        raise RuntimeError("no power")

    monkeypatch.setattr(client_room, "train", fail)
    status, out, err = privet("run", "tiny", "--name", "dark")
    assert (status, out) == (1, "")
    assert err == "privet: round 1: no client succeeded: RuntimeError: no power\n"
    assert "Traceback" in privet("--debug", "resume", "dark")[2]
    assert privet("list")[0] == 0


def test_ctrl_c_leaves_a_resumable_run(runs):
    """A real SIGINT to a real process."""
    environment = {**os.environ, "PRIVET_RUNS": str(runs)}
    command = [sys.executable, "-m", "server", "run", "tiny", "--name", "stopped"]
    process = subprocess.Popen(
        [*command, "-s", "federation.rounds=400"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (runs / "stopped/rounds/002.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "privet: interrupted; go on with: privet resume stopped\n"

    from server.run.directory import Run

    assert 2 <= len(Run.open(runs / "stopped").rounds) < 400


def test_data_list(privet):
    status, out, _ = privet("data", "list", "--json")
    assert status == 0
    assert set(json.loads(out)) == {"digits", "mnist", "fashion-mnist", "idx"}
    assert privet("data", "list")[0] == 0


@pytest.mark.parametrize(
    ("raised", "says", "status"),
    [
        (IsADirectoryError(21, "Is a directory", "log.txt"), "log.txt: Is a directory", 1),
        (ConnectionResetError("gone"), "a file, or the output: gone", 1),
        (MemoryError(), "out of memory", 1),
    ],
)
def test_what_the_machine_refuses_is_one_line(privet, runs, monkeypatch, raised, says, status):
    def fails(*_):
        raise raised

    monkeypatch.setattr("server.watch.headlines.headlines", fails)
    found, out, err = privet("list")
    assert (found, out) == (status, "")
    assert says in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["ternary", "binary"])
def test_weights_of_another_model_are_refused_by_name(privet, runs, name):
    """A hidden layer of words has a scale of its own: floats have no weights for it."""
    asked = "run tiny -s federation.rounds=1 -s model.hidden=[4] -s federation.clients=2 --name r"
    assert privet(*asked.split())[0] == 0
    status, _, err = privet("evaluate", "r", "-s", f"arithmetic.name={name}")
    assert status in (0, 2)
    assert "RuntimeError" not in err
    assert len(err.splitlines()) == (status == 2)


def test_a_port_that_no_machine_has_is_refused_before_anything_is_done(privet):
    """Of whatever command, at whatever option."""
    import typer

    ports = [
        (name, option.opts[0])
        for name, command in typer.main.get_command(cli.app).commands.items()
        for option in command.params
        if "port" in option.name.split("_")
    ]
    assert {name for name, _ in ports} == {"link", "node", "serve", "serve-learning", "watch"}
    for name, option in ports:
        for number in ("65536", "-1"):
            code, _, err = privet(name, option, number)
            assert code == 2
            assert f"'{option}': {number} is not in the range" in err.replace("\n", " ")


def test_no_word_of_help_is_taken_for_markup():
    """What stands in brackets is left out of the help of a command, as a style of rich."""
    import typer

    commands = [("privet", typer.main.get_command(cli.app))]
    seen = 0
    for name, command in commands:
        commands += getattr(command, "commands", {}).items()
        helps = [command.help, *(getattr(one, "help", "") for one in command.params)]
        seen += len(helps)
        assert not [text for text in helps if re.search(r"\[[a-z/#@]", text or "")], name
    assert seen > 100


def test_the_collector_waits_for_work_alone(privet):
    """For imports it does not begin; after its first look it looks more often, and in what stays
    as Python itself does."""
    before = gc.get_threshold()
    try:
        privet("list")
        assert gc.get_threshold() == garbage.IMPORTING
        gc.collect()
        assert gc.get_threshold() == garbage.WORKING
        privet("list")
        garbage.often()
        gc.collect()
        assert gc.get_threshold() == garbage.STAYING
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_what_stays_looks_for_garbage_as_python_does(privet, runs, monkeypatch):
    """Refused requests stand in circles, and hold what was sent."""
    runs.mkdir(exist_ok=True)
    found = []
    monkeypatch.setattr(listen, "watch", lambda *_: found.append(gc.get_threshold()))
    before = gc.get_threshold()
    try:
        assert privet("watch", str(runs))[0] == 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
    assert found == [garbage.STAYING]
