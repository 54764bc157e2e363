"""Messages of a secure sum that are not what they should be."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from test_federation import equal, final, run_tiny
from test_secure import CKKS, MASKS, intercept

from clients.node import secure as device
from privacy.errors import FederationFailed
from privacy.sums.boxes import pack_list, pack_rows, unpack_rows
from privacy.sums.masks import BOX_BYTES
from server.engines import choice as engines

# ---- messages that are not what they should be


def spoiling(monkeypatch, kind, spoil):
    """Change what client 2 is sent, in a phase; before is what it was sent there in round 1."""
    before = {}

    def change(message, deliver):
        if message.metadata.dst_node_id == 3 and message.metadata.message_type == kind:
            told = dict(message.content["sum"])
            first = before.setdefault(kind, dict(told))
            if spoilt := spoil(told, first):
                content = RecordDict({**message.content, "sum": ConfigRecord(spoilt)})
                message = Message(content, 3, kind)
                message.metadata.__dict__["_message_id"] = "spoilt"
        return deliver(message)

    intercept(monkeypatch, change)


def flip(boxes):
    rows = unpack_rows(boxes, BOX_BYTES, 4)
    return pack_rows({m: box[:7] + bytes([box[7] ^ 1]) + box[8:] for m, box in rows.items()})


def swap(boxes):
    rows = unpack_rows(boxes, BOX_BYTES, 4)
    return pack_rows(dict(zip(rows, list(rows.values())[::-1], strict=True)))


@pytest.mark.parametrize(
    ("kind", "spoil", "says"),
    [
        ("train", lambda told, first: first if told != first else None, "another sum"),
        ("train", lambda told, _: {**told, "there": b""}, "0 neighbours left"),
        ("train", lambda told, _: {**told, "there": pack_list([0, 1, 77])}, "keys are not known"),
        ("train", lambda told, _: {**told, "there": pack_list(range(5))}, "5 rows, where there ar"),
        ("train", lambda told, _: {**told, "there": 2 * pack_list([1, 3])}, "a member twice"),
        ("train", lambda told, _: {**told, "boxes": told["boxes"][:-1]}, "not a table"),
        (
            "query.shares",
            lambda told, _: {**told, "publics": pack_rows(dict.fromkeys([0, 1, 3], bytes(64)))},
            "not a public key",
        ),
        ("query.shares", lambda told, first: first if told != first else None, "another sum"),
        ("query.keys", lambda told, _: {**told, "terms": "{}"}, "terms of a sum"),
        (
            "query.keys",
            lambda told, _: {**told, "terms": told["terms"].replace('"needed":3', '"needed":2')},
            "no more than half",
        ),
    ],
)
def test_altered_and_replayed_messages_are_refused_and_the_round_goes_on(
    runs, monkeypatch, kind, spoil, says
):
    spoiling(monkeypatch, kind, spoil)
    run = run_tiny(runs, MASKS, "federation.rounds=2")
    failure = run.rounds[-1].clients[2].failure
    assert says in failure
    assert run.rounds[-1].secure["survivors"] == [0, 1, 3]
    assert all(np.isfinite(v).all() for v in final(run).values())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told, _: {**told, "boxes": flip(told["boxes"])},
        lambda told, _: {**told, "boxes": swap(told["boxes"])},
        lambda told, _: {**told, "boxes": b""},
        lambda told, _: {**told, "proofs": b""},
        lambda told, first: {**first, "digest": told["digest"]},
    ],
)
def test_parts_that_do_not_come_are_not_missed_while_others_have_them(runs, monkeypatch, spoil):
    """Client 2 holds nothing for others then; the sum is that of all the same."""
    expected = run_tiny(runs, MASKS, "federation.rounds=2")
    spoiling(monkeypatch, "train", spoil)
    run = run_tiny(runs, MASKS, "federation.rounds=2")
    assert run.rounds[-1].secure["survivors"] == [0, 1, 2, 3]
    assert run.rounds[-1].secure["liars"] == []
    assert equal(final(run), final(expected))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda words: words[:-1], "masked words are uint32"),
        (lambda words: words.astype(np.float32), "masked words are float32"),
        (lambda words: np.repeat(words, 9), "masked words of"),
    ],
)
def test_masked_words_of_another_shape_are_rejected(runs, monkeypatch, spoil, says):
    def change(message, deliver):
        reply = deliver(message)
        if message.metadata.dst_node_id == 2 and message.metadata.message_type == "train":
            words = np.ascontiguousarray(spoil(reply.content["arrays"]["sum"].numpy()))
            reply.content["arrays"] = ArrayRecord({"sum": Array(words)})
        return reply

    intercept(monkeypatch, change)
    run = run_tiny(runs, MASKS, "federation.rounds=1")
    assert says in run.rounds[0].clients[1].failure
    assert run.rounds[0].secure["survivors"] == [0, 2, 3]


def test_the_words_of_another_round_are_rejected(runs, monkeypatch):
    first = []

    def change(message, deliver):
        reply = deliver(message)
        if message.metadata.dst_node_id == 2 and message.metadata.message_type == "train":
            first.append(reply.content)
            return Message(first[0], reply_to=message)
        return reply

    intercept(monkeypatch, change)
    run = run_tiny(runs, MASKS, "federation.rounds=2")
    assert run.rounds[0].clients[1].failure is None
    assert "rejected: an update of another sum" in run.rounds[1].clients[1].failure


def test_every_message_survives_the_wire(runs, monkeypatch):
    """Through Flower's own serialisation, each client's kept state too, as on SuperNodes."""

    def again(record):
        return recorddict_from_proto(recorddict_to_proto(record))

    deliver = engines.CohortGrid._deliver

    def wired(self, message):
        context = self._context(message.metadata.dst_node_id)
        context.state = again(context.state)
        sent = Message(again(message.content), message.metadata.dst_node_id,
                       message.metadata.message_type)  # fmt: skip
        sent.metadata.__dict__["_message_id"] = message.metadata.message_id
        reply = deliver(self, sent)
        return Message(again(reply.content), reply_to=message)

    expected = {scheme: final(run_tiny(runs, scheme)) for scheme in (MASKS, CKKS)}
    monkeypatch.setattr(engines.CohortGrid, "_deliver", wired)
    for scheme, weights in expected.items():
        assert equal(final(run_tiny(runs, scheme)), weights)


@pytest.mark.parametrize(
    ("policy", "scheme", "works"),
    [("masks", MASKS, True), ("masks", CKKS, False), ("masks", "seed=0", False)],
)
def test_a_node_can_insist_on_sums(runs, monkeypatch, policy, scheme, works):
    """Its owner's setting; a server that asks for an update in the clear gets none."""
    context = engines.CohortGrid._context

    def with_policy(self, node):
        found = context(self, node)
        found.node_config[device.POLICY] = policy
        return found

    monkeypatch.setattr(engines.CohortGrid, "_context", with_policy)
    if works:
        assert run_tiny(runs, scheme).rounds[-1].secure["single_updates"] == 0
        return
    with pytest.raises(FederationFailed, match=r"this node trains under secure_aggregation = 'ma"):
        run_tiny(runs, scheme)
