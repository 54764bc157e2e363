"""The folder behind the live page: what it tells of runs, how little it reads, and of whom."""

import json
import os
import shutil
import time
from itertools import pairwise

import pytest
from watched import ROUNDS, begin, copies, grow, record, sweep_of

from privacy import foreign
from server.run.summary import summarise
from server.watch import folder as folders
from server.watch import rows, track
from server.watch.folder import Folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two rounds, to copy."""
    run = begin(tmp_path_factory.mktemp("made"), "one")
    grow(run, 2)
    return run


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "one")
    return Folder(tmp_path)


def seen(folder):
    folder.look()
    return {row["name"]: row for row in folder.news(0)["runs"]}


def test_a_run_is_told_as_show_tells_it(folder):
    from server.run.directory import Run

    run = Run.open(folder.path / "one")
    with run.locked():
        told = seen(folder)["one"]
        assert told["state"] == "running"
        assert told["left_s"] == (ROUNDS - 2) * 1.5
    facts = summarise(run)
    assert (told["accuracy"], told["data"]) == (facts.accuracy, facts.dataset)
    assert (told["model"], told["clients"]) == (facts.model, facts.clients)
    assert told["failures"] == facts.failures == 2
    assert (told["epsilon"], told["target"]) == (1.0, facts.epsilon_target)
    assert seen(folder)["one"]["state"] == "stopped"  # at once: its lock was seen, and is gone
    grow(run, ROUNDS - 2)
    run.keep("leakage.json", {})
    told = seen(folder)["one"]
    assert (told["state"], told["rounds"], told["stages"]) == ("finished", ROUNDS, ["attacked"])
    detail = folder.run(told["id"], 0, "")
    assert [point[0] for point in detail["points"]] == list(range(1, ROUNDS + 1))
    assert detail["failures"][-1] == (ROUNDS, 3, "RuntimeError: out of memory")
    assert folder.run(told["id"], 4, detail["series"])["points"] == detail["points"][4:]


def test_training_that_diverged_and_figures_that_are_no_accuracy(folder):
    from server.run.directory import Run

    run = Run.open(folder.path / "one")
    grow(run, 1, accuracy=None, figures={"MAE": 0.25, "R2": float("nan")})
    told = seen(folder)["one"]
    assert (told["accuracy"], told["figure"]) == (None, ("MAE", 0.25))
    run.keep("stopped.json", {"round": 4, "why": "diverged"})
    assert seen(folder)["one"]["why"] == "diverged in round 4"
    grow(run, 1, loss=float("inf"), epsilon=float("inf"))
    told = seen(folder)["one"]
    assert (told["state"], told["epsilon"]) == ("diverged", float("inf"))


def test_only_what_is_new_is_read(folder, monkeypatch):
    read = []

    def counted(path, *arguments, **options):
        read.append(path.name)
        return foreign.open_foreign(path, *arguments, **options)

    copies_of = folder.path / "one"
    with monkeypatch.context() as patch:
        patch.setattr(track, "open_foreign", counted)
        seen(folder)
        patch.setattr(rows, "read_foreign", lambda *_, **__: pytest.fail("read again"))
        version, read[:] = folder.version, []
        seen(folder)
        assert (read, folder.version) == ([], version)
        size = (copies_of / "rounds.jsonl").stat().st_size
        with (copies_of / "rounds.jsonl").open("a") as file:
            file.write(line := record(3).to_json() + "\n")
        assert seen(folder)["one"]["rounds"] == 3
        assert read == ["rounds.jsonl"]
        assert folder._runs["one"].track.offset == size + len(line)
        assert folder.news(version)["runs"]
        assert not folder.news(folder.version)["runs"]


def test_a_line_that_is_being_written_waits_and_one_that_is_cut_is_told(folder):
    path = folder.path / "one" / "rounds.jsonl"
    text, line = path.read_text(), record(3).to_json() + "\n"
    path.write_text(text + line[:70])
    assert seen(folder)["one"]["rounds"] == 2
    path.write_text(text + line)
    assert seen(folder)["one"]["rounds"] == 3
    path.write_text(text + line[:70] + "\n")  # shorter: from the start
    told = seen(folder)["one"]
    assert (told["state"], told["rounds"]) == ("damaged", 2)
    assert told["why"] == "rounds.jsonl: line 3 is not a whole record"
    path.write_text(text)
    assert seen(folder)["one"]["state"] != "damaged"


def test_a_long_run_is_thinned_and_its_last_round_is_there(folder, monkeypatch):
    monkeypatch.setattr(track, "MOST_POINTS", 64)
    path = folder.path / "one" / "rounds.jsonl"
    told = json.loads(record(1).to_json())
    with path.open("w") as file:
        for number in range(1, 1002):
            file.write(json.dumps(told | {"round": number}) + "\n")
    row = seen(folder)["one"]
    detail = folder.run(row["id"], 0, "")
    assert row["rounds"] == 1001
    assert len(detail["points"]) <= 65
    assert detail["points"][-1][0] == 1001
    assert len({b[0] - a[0] for a, b in pairwise(detail["points"][:-1])}) == 1
    assert len(row["spark"]) <= 32


HOSTILE = {
    "rounds.jsonl": [
        b"[" * 100_000 + b"\n",
        b'{"round": 1e999}\n',
        b'{"round": 1, "clients": [{"failure": 1}], "seconds": "\xff"}\n',
        b'{"round": ' + b"9" * 5000 + b"}\n",
        b'{"round": 1, "seconds": 1, "clients": [], "accuracy": ' + b"9" * 400 + b"}\n",
        b"null\n\n\0",
    ],
    "experiment.toml": [
        b"[federation]\nrounds = 1e99\nclients = -3\n[budget]\nepsilon = nan\nunit = 'client'",
        b"data = 3\nfederation = [1]\nbudget = 'none'\nseed = true\ntitle = 7",
        b"\xff\xfe",
        b"title = '" + b"x" * 1000 + b"'",
    ],
    "environment.json": [b"[]", b'{"created_ns": 1e400}', b'{"created_ns": -1}'],
    "stopped.json": [b'{"why": "diverged", "round": {}}', b"[" * 60_000],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_files_are_a_row_and_no_error(folder, name):
    for content in HOSTILE[name]:
        (folder.path / "one" / name).write_bytes(content)
        told = seen(folder)["one"]
        assert told["state"] in ("stopped", "running", "damaged")
        assert folder.run(told["id"], 0, "")


def test_no_link_no_pipe_and_nothing_large_is_followed(folder, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    (other / "secret.html").write_text("secret")
    one = folder.path / "one"
    (folder.path / "linked").symlink_to(one)
    (folder.path / "linked.html").symlink_to(other / "secret.html")
    (folder.path / "pipe.html").mkdir()
    for name, kind in (("a", "link"), ("b", "pipe"), ("c", "large")):
        run = folder.path / name
        shutil.copytree(one, run)
        (run / "rounds.jsonl").unlink()
        if kind == "link":
            (run / "rounds.jsonl").symlink_to(one / "rounds.jsonl")
        elif kind == "pipe":
            os.mkfifo(run / "rounds.jsonl")
        else:
            with (run / "rounds.jsonl").open("wb") as file:
                file.truncate(1 << 35)
    monkeypatch.setattr(track, "MOST_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(track, "MOST_READ_BYTES", 1 << 19)
    for _ in range(4):
        told = seen(folder)
    assert set(told) == {"one", "a", "b", "c"}
    assert [told[name]["rounds"] for name in "abc"] == [0, 0, 0]
    assert told["c"]["why"] == "rounds.jsonl: line 1 is too long"
    assert folder.news(0)["reports"] == []
    assert folder.report(rows.id_of("linked.html")) is None


def test_names_are_shown_and_never_obeyed(folder):
    for name in ("\x1b[31mred", "\u202egpj.exe", os.fsdecode(b"\xff\xfe"), "<b>$(x)`"):
        (folder.path / "one").rename(folder.path / name)
        (row,) = seen(folder).values()
        assert row["name"].isprintable()
        assert row["next"] == "" or row["next"].endswith(f"'{name}'")
        json.dumps(row).encode()
        (folder.path / name).rename(folder.path / "one")


def test_looking_writes_nothing_and_holds_nothing_up(folder, monkeypatch):
    from server.run.directory import Run

    flags, opened = [], os.open
    tree = [(p, p.stat().st_mtime_ns, p.stat().st_size) for p in folder.path.rglob("*")]
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda p, how, *a, **k: (flags.append(how), opened(p, how))[1])
        seen(folder)
    assert flags
    assert not [how for how in flags if how & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]
    assert tree == [(p, p.stat().st_mtime_ns, p.stat().st_size) for p in folder.path.rglob("*")]
    with Run.open(folder.path / "one").locked():  # taken by a run that begins beside a look
        seen(folder)


def test_a_sweep_tells_how_far_its_cells_came(folder):
    sweep_of(folder.path, ["one", "../../one"], failed="the chip\nmelted")
    seen(folder)
    (row,) = folder.news(0)["sweeps"]
    assert (row["state"], row["counts"]) == ("finished", {"done": 2, "failed": 1})
    cells = folder.sweep(row["id"])["cells"]
    assert [cell["name"] for cell in cells] == [f"epsilon {i}, seed 0" for i in (1, 2, 3)]
    assert [len(cell["points"]) for cell in cells] == [2, 0, 0]
    assert (cells[1]["run"], cells[2]["error"]) == (None, "the chip melted")
    (folder.path / "grid.sweep" / "sweep.json").write_text('{"cells": {}}')
    seen(folder)
    assert folder.news(0)["sweeps"][0]["state"] == "damaged"


def test_five_hundred_runs_are_listed_within_a_second(folder):
    from server.run.directory import Run

    one = Run.open(folder.path / "one")
    grow(one, ROUNDS - 2)
    copies(one, 499)
    began = time.process_time()
    assert len(seen(folder)) == 500
    listed = time.process_time() - began
    began = time.process_time()
    folder.look()
    assert listed < 1.0
    assert time.process_time() - began < 0.2
    for gone in range(499):
        (folder.path / f"copy-{gone:04d}" / "experiment.toml").unlink()
    version = folder.version
    folder.look()
    news = folder.news(version)
    assert news["all"]
    assert [row["name"] for row in news["runs"]] == ["one"]


def test_more_runs_than_are_shown_are_counted(folder, monkeypatch):
    monkeypatch.setattr(folders, "MOST_RUNS", 3)
    from server.run.directory import Run

    copies(Run.open(folder.path / "one"), 4)
    assert len(seen(folder)) == 3
    assert folder.news(0)["left_out"] == 2
