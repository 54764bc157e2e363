"""Output: brackets are brackets, a pipe gets everything, and no terminal's encoding breaks it."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NAMES = ("lr[bold]x", "[budget]", "Zürich [red]", "a-rather-long-name-of-a-run-" * 3 + "end")


@pytest.fixture
def four(privet, runs):
    """Four runs, of names that markup or a narrow terminal would spoil."""
    assert privet("run", "tiny", "-s", "federation.rounds=1", "--name", NAMES[0])[0] == 0
    for name in NAMES[1:]:
        shutil.copytree(runs / NAMES[0], runs / name)
    return runs


def ask(*command, **environment):
    """The command line in a process of its own, into a pipe: (exit status, stdout, stderr)."""
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LC_ALL", "LANG")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "server", *command],
        env={**kept, "PYTHONPATH": paths, **environment},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_brackets_are_text_and_nothing_is_cut_in_a_pipe(four, privet):
    status, out, _ = privet("list")
    assert status == 0
    assert all(name in out for name in NAMES)
    for name in NAMES:
        assert name in privet("show", name)[1].replace("\n", "")
    _, _, err = privet("run", "tiny", "-s", "budget.clip=-1")
    assert "[budget] clip" in err


def test_a_damaged_oldest_run_leaves_the_headings(four, privet):
    (four / NAMES[0] / "rounds.jsonl").write_text("{\n")
    _, out, _ = privet("list")
    heading = next(line for line in out.splitlines() if "accuracy" in line)
    assert all(word in heading for word in ("run", "status", "rounds", "epsilon"))
    assert "damaged" in out
    assert "finished" in out


@pytest.mark.parametrize(
    ("encoding", "command", "status"),
    [("ascii", "show", 0), ("cp1252", "show nothing-[ü]", 2), ("ascii", "report --format md", 0)],
)
def test_any_encoding(four, encoding, command, status):
    """What a terminal has no sign for is spelled out; JSON and pages are what they always are."""
    name, *more = command.split()
    words = more if status else [NAMES[2], *more]
    found, out, err = ask(name, *words, PRIVET_RUNS=str(four), PYTHONIOENCODING=encoding)
    assert b"Traceback" not in err
    assert b"UnicodeEncodeError" not in err
    assert found == status
    if name == "report":
        assert "ε" in out.decode()


def test_a_narrow_terminal_folds_and_leaves_nothing_out(four):
    """40 columns: the longest name is there, in pieces."""
    parent, child = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "show", NAMES[3]],
        env={**environment, "PYTHONPATH": paths, "PRIVET_RUNS": str(four), "TERM": "xterm"},
        stdout=child, stderr=child, stdin=child,
    )  # fmt: skip
    os.close(child)
    said = b""
    try:
        while piece := os.read(parent, 65536):
            said += piece
    except OSError:
        pass  # how a terminal says that the other end is closed
    assert process.wait() == 0
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode())
    lines = told.splitlines()
    assert max(map(len, lines)) <= 41
    assert "…" not in told
    cells = "".join(line.split("│")[2].strip() for line in lines if line.count("│") == 3)
    assert NAMES[3] in cells


def test_a_reader_who_has_seen_enough_is_no_error(four):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PRIVET_RUNS": str(four)}
    command = f"{sys.executable} -m server list --json | head -c 10 >/dev/null"
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, check=False)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("where", "status", "told"),
    [
        (">&-", 2, "stdout is closed: results would be lost"),
        ("> /dev/full", 1, "a file, or the output: No space left on device"),
    ],
)
def test_results_that_go_nowhere_are_no_success(four, where, status, told):
    """And no file of a run gets the number of a stream that is closed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PRIVET_RUNS": str(four)}
    command = f"{sys.executable} -m server list --json {where}"
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr.decode() == f"privet: {told}" + (
        "; give it a file, or /dev/null\n" if status == 2 else "\n"
    )
