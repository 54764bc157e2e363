"""A step of a sum is taken once, by whichever of two processes comes first."""

import fcntl
import multiprocessing

import pytest
from oracles_secure import terms_for

from privacy.errors import SecureSumFailed
from privacy.sums.marks import Marks

TERMS, LATER = terms_for(range(3), 4), terms_for(range(3), 4, round_number=2)


def try_to_take(path, asked, gate, won):
    gate.wait()
    try:
        Marks(path).take(TERMS, "unmask", asked, again=True)
    except SecureSumFailed:
        return
    won.put(asked)


def test_of_many_processes_one_list_is_answered(tmp_path):
    """All ask at once, each for another list; a line on disk says which was first."""
    path, context = tmp_path / "ledger.sums", multiprocessing.get_context("fork")
    for number in range(5):
        gate, won = context.Barrier(6), context.SimpleQueue()
        asked = [bytes([number, i]) for i in range(6)]
        path.unlink(missing_ok=True)
        racing = [context.Process(target=try_to_take, args=(path, a, gate, won)) for a in asked]
        for one in racing:
            one.start()
        for one in racing:
            one.join()
        first = won.get()
        assert won.empty()
        assert path.read_text() == f"{TERMS.digest.hex()} unmask {first.hex()}\n"
        won.close()


def test_who_comes_second_waits_for_the_first(tmp_path):
    """Between looking and marking nobody else looks."""
    path, context = tmp_path / "ledger.sums", multiprocessing.get_context("fork")
    gate, won = context.Barrier(1), context.SimpleQueue()
    second = context.Process(target=try_to_take, args=(path, b"2", gate, won))
    with path.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second.start()
        second.join(0.5)
        assert won.empty()
        first.write(f"{TERMS.digest.hex()} unmask {b'1'.hex()}\n")
        first.flush()
        fcntl.flock(first, fcntl.LOCK_UN)  # closing is not enough: the child has it open too
    second.join()
    assert won.empty()


def test_a_step_is_taken_once_in_each_sum(tmp_path):
    marks = Marks(tmp_path / "deep" / "ledger.sums")
    for terms in (TERMS, LATER):
        for step in ("share", "mask"):
            marks.take(terms, step, b"")
            with pytest.raises(SecureSumFailed, match=f"{step}: asked for twice"):
                marks.take(terms, step, b"")
        for _ in range(2):
            marks.take(terms, "unmask", b"a list", again=True)
        with pytest.raises(SecureSumFailed, match="asked for twice"):
            marks.take(terms, "unmask", b"another list", again=True)
    assert len(marks.path.read_text().splitlines()) == 6
    assert marks.path.stat().st_mode & 0o777 == 0o600


def test_a_mark_that_was_not_written_whole_is_of_no_effect(tmp_path):
    marks = Marks(tmp_path / "ledger.sums")
    marks.take(TERMS, "mask", b"")
    with marks.path.open("a") as file:
        file.write(f"{TERMS.digest.hex()} unmask 61")  # the power failed before its end was there
    marks.take(TERMS, "unmask", b"b")
    assert marks.path.read_text().splitlines()[1:] == [f"{TERMS.digest.hex()} unmask 62"]


def test_marks_that_cannot_be_written_stop_the_device(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\n")
    for path in (tmp_path / "file" / "sums", tmp_path / "link", tmp_path / "bytes", tmp_path):
        with pytest.raises(SecureSumFailed, match="cannot be written"):
            Marks(path).take(TERMS, "mask", b"")
