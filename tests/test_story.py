"""`make demo`: the story goes on past what fails in it, and its last line then names it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clients.node import app as client_room
from server import cli

ROOT = Path(__file__).parent.parent

# What make sees of privet: exit statuses, and what it says last. FAILS is a command that fails.
PRIVET = """#!/bin/sh
echo "privet $*" >> told.log
if [ "$1" = report ]; then
    mkdir -p runs
    echo "a page" > runs/report.html
    echo runs/report.html
    [ -z "$INCOMPLETE" ] || { echo "privet: not complete: $INCOMPLETE" >&2; exit 1; }
    exit
fi
mkdir -p runs
case "$*" in *"$FAILS"*) exit 1;; esac
"""


@pytest.fixture
def demo(tmp_path):
    """Run the Makefile's `demo` in an empty folder: (exit status, last line, what was asked)."""
    program = tmp_path / "bin" / "privet"
    program.parent.mkdir()
    program.write_text(PRIVET)
    program.chmod(0o755)

    def call(**sabotage):
        # A make within a make says more, and takes over its flags: this one is a user's own.
        own = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        make = ["make", "-f", str(ROOT / "Makefile"), "-o", ".venv/installed", "demo", "BIN=bin"]
        done = subprocess.run(
            make,
            cwd=tmp_path,
            env={**own, "FAILS": "nothing", **sabotage},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        asked = (tmp_path / "told.log").read_text().splitlines()
        (tmp_path / "told.log").unlink()
        return done.returncode, done.stdout.splitlines()[-1], asked

    return call


def test_a_story_in_which_all_works_ends_with_its_page(demo):
    status, last, asked = demo()
    assert (status, last) == (0, "runs/report.html")
    assert [line.split()[1] for line in asked] == ["data", *["sweep"] * 2, "report"]


@pytest.mark.parametrize("fails", ["sweep story-binary", "sweep story "])
def test_what_failed_is_named_last_and_all_else_is_done(demo, tmp_path, fails):
    cell = "story: arithmetic.name=fixed, seed 0 (run: no power; 'it' costs $5, or 3 %)"
    status, last, asked = demo(FAILS=fails, INCOMPLETE=cell)
    assert status != 0
    assert cell in last
    assert [line.split()[1] for line in asked] == ["data", *["sweep"] * 2, "report"]
    assert asked[-1].endswith("-o runs/report.html --complete")
    assert (tmp_path / "runs/report.html").is_file()
    assert demo()[:2] == (0, "runs/report.html")  # what was said before is forgotten


def test_a_sabotaged_cell_fails_the_report_of_its_sweep_which_is_written(
    runs, tmp_path, monkeypatch, capfd
):
    """The same with privet itself: one cell of two loses its power, and one sweep is not there."""
    train = client_room.train

    def sabotaged(net, records, members, job, *rest):
        if job.arithmetic.name == "fixed":
            raise RuntimeError("no power")
        return train(net, records, members, job, *rest)

    def privet(*arguments):
        monkeypatch.setattr(sys, "argv", ["privet", *arguments])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        out, err = capfd.readouterr()
        return int(leave.value.code or 0), out, err

    monkeypatch.setattr(client_room, "train", sabotaged)
    small = ["-s", "federation.rounds=1", "-s", "federation.clients=2", "--name", "story"]
    sweep = ["sweep", "tiny", "--over", "arithmetic.name=float,fixed", *small]
    page = tmp_path / "report.md"
    told = ["report", "story", "-o", str(page), "--format", "md"]
    assert privet(*sweep)[0] == 1
    status, out, err = privet(*told, "--complete")
    assert (status, out) == (1, f"{page}\n")
    (last,) = err.splitlines()
    assert last.startswith("privet: not complete: story: arithmetic.name=fixed, seed 0 (run: ")
    assert "no power" in last
    assert "float" not in last
    assert "no power" in page.read_text()
    assert privet(*told)[0] == 0  # who does not ask is told on the page

    status, out, err = privet(*told, "nowhere", "--complete")
    assert (status, out) == (1, f"{page}\n")
    assert err.splitlines()[-1].endswith("nowhere (is not there)")
    assert privet(*told, "nowhere")[0] == 2
    assert privet("report", "nowhere", "--complete")[0] == 2

    monkeypatch.setattr(client_room, "train", train)
    assert privet(*sweep)[0] == 0
    assert privet(*told, "--complete")[::2] == (0, "")
