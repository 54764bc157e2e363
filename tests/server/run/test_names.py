"""Names that become folders, runs that begin together, and which of them is the newest."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from privacy.errors import RunError
from privacy.files import MOST_NAME_BYTES, require_name
from server.experiment.loading import load_experiment
from server.run.directory import Run, find_run, list_runs
from server.run.names import age, instant_of, names_of

BAD = [
    "../esc",
    "a/b",
    ".x",
    "x" * 300,
    "ü" * 100,
    "",
    " x",
    "a\nb",
    "a\x00b",
    "-x",
    "\udcff",
    "a\\b",
    "x.",
    "CON",
    "nul.2",
    "u\u0308ber",  # as "über" looks
    "a\u202egnp.exe",  # written from right to left
    "a\u200bb",  # a space of no width
    "a\u00a0b",  # and one of some
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_is_one_plain_folder_name(name, privet, runs):
    """Wherever it comes from, and before anything is made."""
    with pytest.raises(RunError, match="must be one plain folder name"):
        require_name("title", name)
    with pytest.raises(RunError, match="title"):
        load_experiment("tiny", [f"title={json.dumps(name)}"])
    if name and name.isprintable():
        for command in (["run", "tiny"], ["sweep", "tiny", "--over", "seed=1,2"]):
            status, out, err = privet(*command, f"--name={name}")
            assert (status, out) == (2, "")
            assert "must be one plain folder name" in err
            assert len(err.splitlines()) == 1
    assert not runs.exists()


@pytest.mark.parametrize(
    "name", ["lr[bold]x", "Stadt Zürich", "run.2", "x" * MOST_NAME_BYTES, "日本"]
)
def test_what_can_be_a_folder_is_a_name(name):
    assert next(names_of("tiny", name)) == name


@pytest.mark.parametrize("name", ["latest", "Latest", "mine.sweep"])
def test_names_of_other_things_are_taken(name, privet, runs):
    status, _, err = privet("run", "tiny", "--name", name)
    assert (status, runs.exists()) == (2, False)
    assert "the name of something else" in err


@pytest.mark.parametrize("command", [["show"], ["run"], ["resume"], ["report"], ["evaluate"]])
def test_a_name_that_no_file_can_have_is_not_there(command, privet, runs):
    status, out, err = privet(*command, "y" * 300)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "OSError" not in err


def create(task):
    """A run without rounds, from a process of its own."""
    folder, seed, name = task
    experiment = load_experiment("tiny", [f"seed={seed}"]).resolve()
    weights = {"w": np.zeros(3, np.float32)}
    try:
        return Run.create(experiment, weights, Path(folder), name).path.name
    except RunError as error:
        return str(error)


def test_runs_that_begin_in_the_same_second_do_not_collide(tmp_path, monkeypatch):
    """Threads of one process, and processes: each has its own directory, whole."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        made = pool.map(create, [(str(tmp_path), seed, "") for seed in range(12)], chunksize=1)
    assert len(set(made)) == 12
    assert {run.experiment.seed for run in list_runs(tmp_path)} == set(range(12))
    assert not list(tmp_path.glob(".*"))


def test_of_two_runs_of_one_name_one_is_told_that_it_exists(tmp_path, monkeypatch):
    """Also where the other was made after it was looked for."""
    assert create((str(tmp_path), 1, "mine")) == "mine"
    assert "exists; resume it" in create((str(tmp_path), 2, "mine"))
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert "exists; resume it" in create((str(tmp_path), 2, "mine"))
    assert Run.open(tmp_path / "mine").experiment.seed == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_newest_is_the_newest_by_the_instant(tmp_path):
    """In any time zone, and within a second."""
    assert instant_of("2026-10-25T02:30:00+0200") < instant_of("2026-10-25T02:10:00+0100")
    assert instant_of("never") == 0.0
    for name in ("b", "a"):
        create((str(tmp_path), 1, name))
    assert find_run("latest", tmp_path).path.name == "a"
    told = tmp_path / "b" / "environment.json"
    kept = json.loads(told.read_text())
    del kept["created_ns"]
    told.write_text(json.dumps(kept | {"created": "2999-01-01T00:00:00-0800"}))
    assert find_run("latest", tmp_path).path.name == "b"
    assert age({"created_ns": True}, "x") == (0.0, "x")


def test_a_run_is_found_from_any_folder_with_its_data(privet, tmp_path, monkeypatch, runs):
    """Begun beside its data with a relative path, looked at from elsewhere, moved, and resumed."""
    rng = np.random.default_rng(2)
    arrays = {}
    for part, num in (("train", 80), ("test", 20)):
        arrays |= {
            f"{part}_x": rng.integers(0, 9, (num, 4, 4), np.uint8),
            f"{part}_y": np.arange(num, dtype=np.uint8) % 2,
        }
    (tmp_path / "here" / "records").mkdir(parents=True)
    np.savez(tmp_path / "here" / "records" / "data.npz", **arrays)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mine = ["-s", "data.name=idx", "-s", "data.path=records", "-s", "federation.rounds=1"]
    assert privet("run", "tiny", *mine, "--name", "mine")[0] == 0
    monkeypatch.chdir(tmp_path / "there")
    assert privet("evaluate", "mine")[0] == 0
    runs.rename(tmp_path / "moved")
    for command in ("evaluate", "show", "resume"):
        status, _, err = privet(command, "mine", "--runs", str(tmp_path / "moved"))
        assert status == 0, err
