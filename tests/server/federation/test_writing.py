"""Rounds that are written while the next is trained: told of when on disk, lost without a trace."""

import os
import subprocess
import sys
from threading import Event

import numpy as np
import pytest
from test_federation import equal, final, run_tiny

from clients.node import app as client_room
from privacy.errors import RunError
from server.console import watched_by
from server.engines.launch import resume
from server.run.directory import Run, find_run

WAIT_S = 20.0

# Round 3 never comes to the disk; the process dies when round 4 is being trained.
KILLED = """
import os, signal, sys, time
from pathlib import Path
from clients.node import app
from server.console import watched_by
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run

append, train = Run.append, app.train

def stuck(self, record, weights, state):
    if record.round == 3:
        if sys.argv[2] == "its weights written":
            self._write("rounds/003.safetensors", b"half")
        time.sleep(60)
    append(self, record, weights, state)

def dying(net, records, members, job, round_, ledger):
    if round_.number == 4:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return train(net, records, members, job, round_, ledger)

Run.append, app.train = stuck, dying
with watched_by(lambda record: print(record.round, flush=True)):
    launch(load_experiment("tiny", []), Path(sys.argv[1]), "killed")
"""


def training_tells(monkeypatch):
    """Events that are set when a round's training begins, by number."""
    begun = {number: Event() for number in range(1, 6)}
    train = client_room.train

    def telling(net, records, members, job, round_, ledger):
        begun[round_.number].set()
        return train(net, records, members, job, round_, ledger)

    monkeypatch.setattr(client_room, "train", telling)
    return begun


def writing_waits(monkeypatch, begun, wait_s):
    """Each round's writing waits for the next one's training; which of them saw it begin."""
    append, seen = Run.append, {}

    def waiting(self, record, weights, state):
        if record.round < 5:
            seen[record.round] = begun[record.round + 1].wait(wait_s)
        append(self, record, weights, state)

    monkeypatch.setattr(Run, "append", waiting)
    return seen


@pytest.mark.parametrize("name", ["fedavg", "fedadam"])
def test_the_next_round_is_trained_meanwhile_and_nothing_is_told_before(runs, monkeypatch, name):
    strategy = f"strategy.name={name}"
    whole = run_tiny(runs, strategy)
    seen = writing_waits(monkeypatch, training_tells(monkeypatch), WAIT_S)
    told = []

    def tell(record):
        run = find_run("slow", runs)
        assert run.rounds[record.round - 1].seconds == record.seconds
        assert len(run.weights(record.round)) == 4
        told.append(record.round)

    with watched_by(tell):
        run = run_tiny(runs, strategy, name="slow")
    assert seen == dict.fromkeys((1, 2, 3, 4), True)
    assert told == [1, 2, 3, 4, 5]
    assert equal(final(run), final(whole))
    assert equal(run.strategy_state(2), whole.strategy_state(2))
    assert [r.clients for r in run.rounds] == [r.clients for r in whole.rounds]


@pytest.mark.parametrize(
    "setting",
    [
        "training.noise=secure",
        "federation.secure_aggregation=masks",
        "server.federation.writing.LONG_S=0",
        "server.federation.writing.MOST_WAITING_BYTES=0",
    ],
)
def test_a_round_that_would_be_another_or_takes_long_is_written_first(runs, monkeypatch, setting):
    settings = [setting, "budget.unit=none"] if "masks" in setting else [setting]
    if setting.startswith("server."):
        path, value = setting.split("=")
        monkeypatch.setattr(path, float(value))
        settings = []
    seen = writing_waits(monkeypatch, training_tells(monkeypatch), 0.02)
    run_tiny(runs, *settings)
    assert seen == dict.fromkeys((1, 2, 3, 4), False)


@pytest.mark.parametrize("when", ["nothing written", "its weights written"])
def test_killed_while_a_round_waits_for_the_disk(runs, when):
    """What was told is there; what was not is done again, to the same weights."""
    command = [sys.executable, "-c", KILLED, str(runs), when]
    killed = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ, timeout=120)
    assert killed.returncode < 0
    assert killed.stdout.split() == [b"1", b"2"]
    run = find_run("killed", runs)
    assert len(run.rounds) == 2
    resume(run)
    whole = run_tiny(runs)
    for number in range(1, 6):
        assert equal(run.weights(number), whole.weights(number))
    assert {c: x.entries for c, x in run.ledgers.items()} == {
        c: x.entries for c, x in whole.ledgers.items()
    }


def test_after_a_round_that_cannot_be_written_none_is(runs, monkeypatch):
    append, told = Run.append, []

    def full(self, record, weights, state):
        if record.round == 2:
            raise RunError("the disk is full")
        append(self, record, weights, state)

    monkeypatch.setattr(Run, "append", full)
    with watched_by(told.append), pytest.raises(RunError, match="the disk is full"):
        run_tiny(runs, name="full")
    assert [record.round for record in told] == [1]
    assert [record.round for record in find_run("full", runs).rounds] == [1]


def test_what_ends_a_run_leaves_the_rounds_before_it_on_disk(runs, monkeypatch):
    """An interruption while a round waits: it is written, and told of, before the process ends."""
    begun, told = training_tells(monkeypatch), []
    seen = writing_waits(monkeypatch, begun, WAIT_S)
    train = client_room.train

    def interrupted(net, records, members, job, round_, ledger):
        loss = train(net, records, members, job, round_, ledger)
        if round_.number == 4:
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(client_room, "train", interrupted)
    with watched_by(told.append), pytest.raises(BaseException, match="interrupted; go on with"):
        run_tiny(runs, name="ended")
    assert seen == dict.fromkeys((1, 2, 3), True)
    assert [record.round for record in told] == [1, 2, 3]
    assert [record.round for record in find_run("ended", runs).rounds] == [1, 2, 3]


def test_numbers_that_diverge_stop_after_the_rounds_before_them(runs, monkeypatch):
    """`stopped.json` names the round after the last line, however slow the disk is."""
    seen = writing_waits(monkeypatch, training_tells(monkeypatch), WAIT_S)
    train = client_room.train

    def diverging(net, records, members, job, round_, ledger):
        loss = train(net, records, members, job, round_, ledger)
        if round_.number == 3:
            for tensor in net.state().values():
                tensor.fill_(np.nan)
        return loss

    monkeypatch.setattr(client_room, "train", diverging)
    with pytest.raises(BaseException, match="diverged in round 3"):
        run_tiny(runs, name="diverged")
    run = find_run("diverged", runs)
    assert [record.round for record in run.rounds] == [1, 2]
    assert seen == {1: True, 2: True}
    assert run.kept("stopped.json")["round"] == 3
