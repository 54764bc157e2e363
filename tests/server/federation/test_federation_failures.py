"""Clients that fail, refuse or send what they should not."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from test_federation import failing, final, run_tiny

from clients.node import app as client_room
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import FederationFailed
from server.engines import choice as engines
from server.run.directory import find_run
from server.run.summary import summarise


def raise_after_two_steps(train, model, records, members, job, round_, ledger):
    def broken_inputs(indices, steps=[0]):  # noqa: B006
        steps[0] += 1
        if steps[0] > 2:
            raise ValueError("the disk is on fire")
        return type(records).inputs(records, indices)

    class Broken:
        y = records.y
        inputs, digest = staticmethod(broken_inputs), records.digest
        targets = records.targets

    train(model, Broken, members, job, round_, ledger)


def test_a_failing_client_is_recorded_and_its_steps_are_counted(runs, monkeypatch):
    """Its exception becomes a line; what it computed before stays on its ledger."""
    failing(monkeypatch, {2}, raise_after_two_steps)
    run = run_tiny(runs)
    for record in run.rounds:
        reasons = {c.client: c.failure for c in record.clients}
        assert reasons == {0: None, 1: None, 2: "ValueError: the disk is on fire", 3: None}
    # The third batch was handed out, so it is charged, though its result never came to be.
    assert run.ledgers[2].entries[0].steps == 5 * 3
    assert run.ledgers[0].entries[0].steps == 5 * 4
    assert summarise(run).failures == 5


def test_a_lost_upload_is_spent_all_the_same(runs, monkeypatch):
    """The device trained, the reply never came: the server learns of the spending by asking."""
    deliver = engines.CohortGrid._deliver

    def lossy(self, message):
        reply = deliver(self, message)
        if message.metadata.message_type == "train" and message.metadata.dst_node_id == 1:
            return deliver(self, Message(message.content, 1, "query.lost"))
        return reply

    monkeypatch.setattr(engines.CohortGrid, "_deliver", lossy)
    run = run_tiny(runs)
    assert run.rounds[0].clients[0].failure
    assert run.ledgers[0].entries == run.ledgers[1].entries


def test_no_client_left_stops_the_run(runs, monkeypatch):
    def fail(*_):
        raise RuntimeError("no power")

    failing(monkeypatch, {0, 1, 2, 3}, fail)
    with pytest.raises(FederationFailed, match="round 1: no client succeeded: RuntimeError: no po"):
        run_tiny(runs, name="dark")
    assert "no power" in find_run("dark", runs).log_path.read_text()


def test_a_client_that_would_overspend_refuses(runs, monkeypatch):
    """A device that has spent before on the same data says no; the run goes on and says so."""
    read = client_room.read_ledger

    def spent_before(context):
        ledger = read(context)
        if context.node_config["partition-id"] == 3:
            ledger.restore(Ledger([Spent(1.5, 0.25, 15)]))
        return ledger

    monkeypatch.setattr(client_room, "read_ledger", spent_before)
    run = run_tiny(runs)
    summary = summarise(run)
    refused = [r.clients[3].failure for r in run.rounds]
    assert refused[-1].startswith("epsilon ")
    assert "over 8" in refused[-1]
    assert summary.refusals == sum(reason is not None for reason in refused) > 0
    assert summary.epsilon <= 8


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda a: {k: np.full_like(v, np.nan) for k, v in a.items()}, "is not finite"),
        (lambda a: {k: np.full_like(v, 1.1e6) for k, v in a.items()}, "or beyond 1e+06"),
        (lambda a: {k: v[:1] for k, v in a.items()}, "rejected: 1.bias is float32[1]"),
        (lambda a: {k: v.view(np.int32) for k, v in a.items()}, "rejected: 1.bias is int32"),
        (lambda a: {k: np.repeat(v, 9) for k, v in a.items()}, "bytes long"),
        (lambda a: dict(list(a.items())[1:]), "other arrays than the model's"),
    ],
)
def test_a_bad_update_is_rejected_and_the_round_goes_on(runs, monkeypatch, spoil, says):
    deliver = engines.CohortGrid._deliver

    def malicious(self, message):
        reply = deliver(self, message)
        if message.metadata.dst_node_id == 2 and message.metadata.message_type == "train":
            arrays = {k: a.numpy() for k, a in reply.content["arrays"].items()}
            spoilt = {k: Array(np.ascontiguousarray(a)) for k, a in spoil(arrays).items()}
            reply.content["arrays"] = ArrayRecord(spoilt)
        return reply

    monkeypatch.setattr(engines.CohortGrid, "_deliver", malicious)
    run = run_tiny(runs, "federation.rounds=1")
    assert says in run.rounds[0].clients[1].failure
    assert all(np.isfinite(v).all() for v in final(run).values())
