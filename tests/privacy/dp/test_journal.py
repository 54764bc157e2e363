"""The ledger in a file: nothing is forgotten, nothing is changed unseen, nothing is paid twice."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clients.data.formats import read_digits
from privacy.dp import journal as journal_room
from privacy.dp.discrete import epsilon_of_sum
from privacy.dp.journal import Journal, Limit
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import BudgetExhausted, LedgerError, PrivetError

FREE = Limit(None, 1e-5)
COST = Spent(1.0, 0.1, 5)


@pytest.fixture
def file(tmp_path):
    """Three releases of two runs."""
    journal = Journal(tmp_path / "ledger.jsonl")
    for run, request in (("a", "1"), ("b", "2"), ("a", "3")):
        journal.charge(run, request, COST, FREE)
        journal.release(run, request, b"weights of " + request.encode())
    return journal.path


def test_it_is_read_back_by_another_process(file):
    assert Journal(file).spent.entries == (Spent(1.0, 0.1, 15),)
    assert Journal(file).spent_in("a").entries == (Spent(1.0, 0.1, 10),)
    assert Journal(file).spent_in("another").entries == ()
    for path in (file, file.with_name(file.name + ".key")):
        assert not path.stat().st_mode & 0o077, path


def test_a_request_is_charged_once_and_answered_alike(file):
    journal = Journal(file)
    journal.charge("a", "4", COST, FREE)
    journal.charge("a", "4", COST, FREE)  # its process died: the same charge still waits
    assert journal.spent_in("a").entries == (Spent(1.0, 0.1, 15),)
    assert journal.spent_in("a", besides="4").entries == (Spent(1.0, 0.1, 10),)
    assert journal.released("a", "4") is None
    journal.release("a", "4", b"fourth")
    assert journal.released("a", "4") == b"fourth"
    assert journal.released("a", "3") is None  # an older answer is not kept,
    journal.charge("a", "3", COST, FREE)  # and giving it anew is spending anew
    assert journal.spent_in("a").entries == (Spent(1.0, 0.1, 20),)


def test_other_noise_is_charged_each_time_it_is_drawn(file):
    """Secure noise: the same request again is another draw, and the first may have been seen."""
    journal = Journal(file)
    for _ in range(2):
        journal.charge("a", "4", COST, FREE, anew=True)
    assert journal.spent_in("a").entries == (Spent(1.0, 0.1, 20),)


def test_shares_of_noise_are_counted_by_what_is_proved_of_them(file):
    """Discrete Gaussians: by Renyi orders, alone and together with other steps."""
    cost = Spent(20.0, 1.0, 1)
    alone = Journal(file.with_name("alone.jsonl"))
    for _ in range(3):
        alone.charge("a", "1", cost, FREE, anew=True, shared=True)
    assert alone.epsilon(1e-5) == epsilon_of_sum([Spent(20.0, 1.0, 3)], 1e-5)
    both = Journal(file)
    steps = both.epsilon(1e-5)
    assert steps == both.spent.epsilon(1e-5)
    both.charge("c", "1", cost, FREE, anew=True, shared=True)
    assert both.epsilon(1e-5) > max(steps, epsilon_of_sum([cost], 1e-5))
    assert both.epsilon(1e-5) >= both.spent.epsilon(1e-5)  # what holds for the continuous one alone
    over = Limit(both.epsilon(1e-5) * 1.0001, 1e-5)
    with pytest.raises(BudgetExhausted, match="limit of this device's owner"):
        both.charge("c", "2", cost, over, anew=True, shared=True)
    with pytest.raises(BudgetExhausted, match="limit of this device's owner"):
        both.charge("a", "9", COST, over)


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"other"), Path.unlink])
def test_an_answer_that_was_lost_is_spent_again(file, spoil):
    (release,) = [p for p in file.parent.glob("*.release") if p.read_bytes().endswith(b"3")]
    spoil(release)
    journal = Journal(file)
    assert journal.released("a", "3") is None
    journal.charge("a", "3", COST, FREE)
    assert journal.spent_in("a").entries == (Spent(1.0, 0.1, 15),)
    assert journal.spent_in("a", besides="3").entries == (Spent(1.0, 0.1, 10),)


def edit(change):
    def spoil(path):
        lines = path.read_bytes().splitlines(keepends=True)
        change(lines)
        path.write_bytes(b"".join(lines))

    return spoil


def beside(path, end):
    return path.with_name(path.name + end)


shorten = edit(lambda lines: lines.pop())


def write_end(path):
    """An end for the lines that are there, by who has seen ends and not the key."""
    seals = [json.loads(line)["seal"] for line in path.read_bytes().splitlines()]
    last = seals[-1] if seals else journal_room.START
    beside(path, ".end").write_text(json.dumps([len(seals), last, last]))


SPOILT = {
    "a smaller cost": edit(lambda lines: lines.__setitem__(2, lines[2].replace(b"5]", b"1]"))),
    "another run": edit(lambda lines: lines.__setitem__(0, lines[0].replace(b'"a"', b'"z"'))),
    "a line removed": edit(lambda lines: lines.pop(2)),
    "the last line removed": edit(lambda lines: lines.pop()),
    "the last release and its charge": edit(lambda lines: lines.__delitem__(slice(4, 6))),
    "two lines exchanged": edit(lambda lines: lines.reverse()),
    "a line twice": edit(lambda lines: lines.append(lines[-1])),
    "no JSON": edit(lambda lines: lines.__setitem__(1, b"{\n")),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
    "another key": lambda path: path.with_name(path.name + ".key").write_bytes(b"k" * 32),
    "no key": lambda path: path.with_name(path.name + ".key").unlink(),
    "another end": lambda path: beside(path, ".end").write_bytes(b"[1]"),
    "no end": lambda path: beside(path, ".end").unlink(),
    "no end, and a line less": lambda path: (shorten(path), beside(path, ".end").unlink()),
    "no end, and emptied": lambda path: (path.write_bytes(b""), beside(path, ".end").unlink()),
    "no end, and removed": lambda path: (path.unlink(), beside(path, ".end").unlink()),
    "an end written anew, and a line less": lambda path: (shorten(path), write_end(path)),
    "an end written anew, and emptied": lambda path: (path.write_bytes(b""), write_end(path)),
    "an end written anew, and removed": lambda path: (write_end(path), path.unlink()),
    "no ledger and no key": lambda path: (path.unlink(), beside(path, ".key").unlink()),
    "only what was released": lambda path: [
        path.unlink(), beside(path, ".key").unlink(), beside(path, ".end").unlink()
    ],
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_ledger_that_was_tampered_with_is_refused(file, spoil):
    spoil(file)
    with pytest.raises(LedgerError, match=r"ledger\.jsonl: the ledger"):
        _ = Journal(file).spent
    with pytest.raises(LedgerError):
        Journal(file).charge("a", "5", COST, FREE)


def test_a_chain_without_a_key_is_forged_unseen(file, monkeypatch):
    """The sabotage that the key is for: with seals that anybody can compute, an edit passes."""
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    forged, seal = [], journal_room.START
    for line in lines:
        body = {k: v for k, v in line.items() if k != "seal"}
        if "cost" in body:
            body["cost"] = [100.0, 0.1, 1]
        seal = journal_room._seal(b"", seal, body)
        forged.append(json.dumps(body | {"seal": seal}) + "\n")
    file.write_text("".join(forged))
    end = [len(forged), seal, journal_room._seal(b"", seal, {"lines": len(forged)})]
    beside(file, ".end").write_text(json.dumps(end))
    with pytest.raises(LedgerError):
        _ = Journal(file).spent
    monkeypatch.setattr(Journal, "_key", lambda self: b"")
    assert Journal(file).spent.entries == (Spent(100.0, 0.1, 3),)


def test_all_files_put_back_is_not_seen(file, tmp_path):
    """What the module says it cannot detect."""
    shutil.copytree(file.parent, tmp_path / "copy")
    Journal(file).charge("a", "5", COST, FREE)
    for name in ("ledger.jsonl", "ledger.jsonl.end"):
        shutil.copy(tmp_path / "copy" / name, file.with_name(name))
    assert Journal(file).spent.entries == (Spent(1.0, 0.1, 15),)


@pytest.mark.parametrize("synced", range(4))
def test_power_that_fails_at_the_first_line_is_no_damage(tmp_path, monkeypatch, synced):
    """Key, end, line, end: whatever of them is on disk, the next start is a good one."""
    left = [synced]
    sync = os.fsync

    def fails(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    journal = Journal(tmp_path / "ledger.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises((OSError, PrivetError)):
            journal.charge("a", "1", COST, FREE)
    charged = journal.spent.entries
    journal.charge("a", "2", COST, FREE)
    assert journal.spent.entries == (Spent(1.0, 0.1, 10 if charged else 5),)


def test_a_line_cut_short_by_a_power_cut_counts_for_nothing(file):
    """It was not on disk, so nothing was computed on it."""
    with file.open("ab") as out:
        out.write(b'{"kind": "charge", "run"')
    assert Journal(file).spent.entries == (Spent(1.0, 0.1, 15),)
    Journal(file).charge("a", "5", COST, FREE)
    assert Journal(file).spent.entries == (Spent(1.0, 0.1, 20),)


def test_the_owners_limit_is_over_all_runs(tmp_path):
    journal = Journal(tmp_path / "ledger.jsonl")
    limit = Limit(Ledger([Spent(1.0, 0.1, 10)]).epsilon(1e-5) * 1.001, 1e-5)
    journal.charge("a", "1", COST, limit)
    journal.charge("b", "1", COST, limit)
    before = journal.path.read_bytes()
    with pytest.raises(BudgetExhausted, match="limit of this device's owner, epsilon-limit = 2"):
        journal.charge("c", "1", COST, limit)
    assert journal.path.read_bytes() == before


def test_a_full_disk_stops_the_round_before_it_computes(file, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LedgerError, match="No space left on device; nothing was computed"):
            Journal(file).charge("a", "5", COST, FREE)
    assert Journal(file).spent.entries[0].steps >= 15


def test_a_device_killed_in_each_phase_never_under_counts(tmp_path):
    """kill -9: whatever left was charged before. A draw of noise that was lost has been spent; an
    answer that is on disk costs nothing more."""
    (tmp_path / "data").mkdir()
    digits = read_digits()
    np.savez(tmp_path / "data" / "data.npz", **{k: v[:200] for k, v in digits.items()})
    script = [sys.executable, str(Path(__file__).parents[2] / "killed.py")]
    done = subprocess.run(
        [*script, str(tmp_path), str(tmp_path / "data")],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    charge, both = ["charge"], ["charge", "release"]
    again = charge + both
    assert json.loads(done.stdout) == {
        "before the charge": {"killed": True, "ledger": [[], both, both], "same": True},
        "charged": {"killed": True, "ledger": [charge, again, again], "same": True},
        "computed": {"killed": True, "ledger": [charge, again, again], "same": True},
        "released": {"killed": True, "ledger": [both, both, both], "same": True},
    }
