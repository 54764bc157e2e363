"""A run directory from elsewhere: its links are not followed, nor its paths without a word."""

import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from privacy.errors import RunError, UserError
from server.cli import app
from server.experiment.loading import load_experiment
from server.run.directory import Run, find_run

READERS = ("attack", "audit", "cost", "evaluate", "infer", "resume", "serve")


@pytest.fixture
def data(tmp_path):
    """A folder of records that the user has."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (60, 4, 4), np.uint8), np.arange(60, dtype=np.uint8) % 3
    np.savez(folder / "data.npz", train_x=x, train_y=y, test_x=x[:9], test_y=y[:9])
    return folder


@pytest.fixture
def run(runs, data, tmp_path, monkeypatch):
    """A run made here, of the user's folder."""
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "cache"))
    asked = ["data.name=idx", f"data.path={data}", "data.limit=0"]
    experiment = load_experiment("tiny", asked).resolve()
    return Run.create(experiment, {"w": np.zeros(2, np.float32)}, runs, "here")


def from_elsewhere(run, monkeypatch, tmp_path):
    """As if another had made it: his key was another."""
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "another"))
    return run


def refusal(command, run):
    """The line with which a command ends, at exit status 2."""
    found = CliRunner().invoke(app, [command, str(run.path)]).exception
    assert isinstance(found, UserError), found
    return str(found)


@pytest.mark.parametrize("command", READERS)
def test_a_foreign_runs_path_is_not_read_unasked(run, monkeypatch, tmp_path, command):
    from_elsewhere(run, monkeypatch, tmp_path)
    told = refusal(command, run)
    assert "was not made here" in told
    assert "--trust" in told


def test_it_is_read_when_the_user_says_so(run, monkeypatch, tmp_path):
    from_elsewhere(run, monkeypatch, tmp_path)
    assert CliRunner().invoke(app, ["cost", str(run.path), "--trust"]).exit_code == 0


def test_a_run_made_here_is_read_without_a_word_also_when_it_moved(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "moved")
    for path in (run.path, tmp_path / "moved"):
        assert CliRunner().invoke(app, ["cost", str(path)]).exit_code == 0


@pytest.mark.parametrize("mark", [None, b"", b"0" * 64])
def test_another_path_or_mark_is_not_ours(run, tmp_path, mark):
    """Who edits the settings, or brings a mark of his own, is asked about."""
    if mark is None:
        (run.path / "experiment.toml").write_text(
            (run.path / "experiment.toml").read_text() + "# another word\n"
        )
    else:
        (run.path / "origin.txt").write_bytes(mark)
    assert "--trust" in refusal("cost", run)


@pytest.mark.parametrize("place", ["leakage.json", "rounds/001", "attack", "deep/er/link"])
def test_a_link_in_a_run_is_refused_by_every_command(run, runs, tmp_path, place):
    """What a command would write to `attack/` would land where the link points."""
    (run.path / place).parent.mkdir(parents=True, exist_ok=True)
    (run.path / place).symlink_to(tmp_path)
    with pytest.raises(RunError, match=f"{place}: is no regular file"):
        Run.open(run.path)
    with pytest.raises(RunError, match="is no regular file"):
        find_run("latest", runs)
    for command in (*READERS, "show"):
        assert "is no regular file" in refusal(command, run)


def test_a_pipe_in_a_run_is_refused_and_not_waited_for(run, runs):
    os.mkfifo(run.path / "inference.json")
    with pytest.raises(RunError, match="is no regular file"):
        Run.open(run.path)
    assert CliRunner().invoke(app, ["list"]).exit_code == 0  # which reads without opening


def test_deep_and_odd_documents_of_a_run_are_a_line(run):
    (run.path / "leakage.json").write_text("[" * 100_000)
    assert run.leakage == {}
    (run.path / "rounds.jsonl").write_text('{"clients":' + "[" * 100_000 + "\n")
    with pytest.raises(RunError, match="line 1 is not a whole record"):
        _ = run.rounds


@pytest.mark.parametrize("dimensions", [33, 65, 255])
def test_arrays_of_255_dimensions_are_damage(run, dimensions):
    whole = save({"w": np.zeros((1,) * 30, np.float32)})
    size = int.from_bytes(whole[:8], "little")
    head = whole[8 : 8 + size].replace(
        b"[" + b",".join([b"1"] * 30) + b"]", b"[" + b",".join([b"1"] * dimensions) + b"]"
    )
    assert len(head) != size
    (run.path / "rounds/000.safetensors").write_bytes(
        len(head).to_bytes(8, "little") + head + whole[8 + size :]
    )
    with pytest.raises(RunError, match="damaged"):
        run.weights(0)
