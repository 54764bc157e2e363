"""A ledger in a stranger's ClientApp: charged before anything leaves, refused past the limit."""

import math

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod, fixedclipping_mod

from clients import ledger_mod
from privacy.dp.journal import Journal
from privacy.errors import SettingsError
from server.federation.grid import CohortGrid

CALLED = []


def app_of(mod, stated=None):
    """A ClientApp of somebody's: it adds one to each weight."""
    app = ClientApp(mods=[mod])

    def reply(message, context):
        CALLED.append(1)
        weights = message.content["arrays"].to_numpy_ndarrays()
        content = RecordDict({"arrays": ArrayRecord([w + 1 for w in weights])})
        if stated:
            content["mechanism"] = ConfigRecord(stated)
        return Message(content, reply_to=message)

    app.train()(reply)
    app.evaluate()(reply)
    return app


class Asked:
    def __init__(self, app, **config):
        self.grid = CohortGrid(app, 1, 1)
        self.context = self.grid._context(1)
        self.context.node_config.update(config)

    def say(self, kind="train"):
        content = RecordDict({"arrays": ArrayRecord([np.zeros(3)])})
        (reply,) = self.grid.send_and_receive([Message(content, 1, kind)])
        return reply


LOCAL = LocalDpMod(1.0, 1.0, 2.0, 1e-5)
SIGMA = math.sqrt(2 * math.log(1.25e5)) / 2 / 2  # over twice the norm: an update may turn about


def test_an_owners_journal_is_charged_and_the_limit_holds(tmp_path):
    journal = Journal(tmp_path / "ledger.jsonl")
    settings = {"ledger": str(journal.path), "epsilon-limit": 8.0}
    node = Asked(app_of(ledger_mod(LOCAL, epsilon_limit=1e6)), **settings)
    answers = 0
    while not (reply := node.say()).has_error():
        answers += 1
        (entry,) = journal.spent.entries
        assert entry.noise_multiplier == pytest.approx(SIGMA)
        assert entry.steps == answers
        assert journal.epsilon(1e-5) <= 8.0
    assert answers >= 1
    assert "the limit of this device's owner" in reply.error.reason
    before = len(CALLED)
    assert node.say().has_error()
    assert len(CALLED) == before  # refused before it computes
    assert journal.spent.entries[0].steps == answers


def test_an_app_that_states_its_mechanism_and_one_that_states_none():
    stated = {"noise-multiplier": 1.0, "sample-rate": 0.1, "steps": 10}
    node = Asked(app_of(ledger_mod(epsilon_limit=3.0), stated))
    assert not node.say().has_error()
    while not (reply := node.say()).has_error():
        pass
    assert reply.error.code == 102
    for wrong in ({"steps": 3}, {"noise-multiplier": 0.0}, {"noise-multiplier": 1.0, "steps": -1}):
        assert Asked(app_of(ledger_mod(), wrong)).say().has_error()
    silent = Asked(app_of(ledger_mod(epsilon_limit=3.0)))
    assert "no mechanism" in silent.say().error.reason
    assert (
        "no mechanism"
        in Asked(app_of(ledger_mod(LOCAL, epsilon_limit=99))).say("evaluate").error.reason
    )


def test_an_error_of_the_app_tells_nothing_of_a_record_and_is_charged(tmp_path):
    app = ClientApp(mods=[ledger_mod(LOCAL)])

    @app.train()
    def fail(message, context):
        raise ValueError("record 7 is of Ada")

    path = tmp_path / "ledger.jsonl"
    node = Asked(app, **{"ledger": str(path), "epsilon-limit": 8.0})
    reply = node.say()
    assert reply.error.reason == "the app stopped: see this node's own log"
    assert Journal(path).spent.entries[0].steps == 1


def test_what_cannot_be_charged_is_refused():
    with pytest.raises(SettingsError, match="what the server adds"):
        ledger_mod(fixedclipping_mod)
    with pytest.raises(SettingsError, match="no noise"):
        ledger_mod(LocalDpMod(1.0, 0.0, 2.0, 1e-5))
    with pytest.raises(SettingsError, match="neither LocalDpMod"):
        ledger_mod(lambda m, c, n: n(m, c))


def test_without_the_charge_the_limit_would_not_hold(monkeypatch):
    """The sabotage: were nothing written down, it would answer for ever."""
    monkeypatch.setattr("clients.node.mod._Kept.charge", lambda *_: None)
    node = Asked(app_of(ledger_mod(LOCAL, epsilon_limit=8.0)))
    assert not any(node.say().has_error() for _ in range(40))
