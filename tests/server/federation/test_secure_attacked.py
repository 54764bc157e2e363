"""Hostile servers and hostile members in whole runs behind masks: each attack once worked."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from test_federation import equal, final, run_tiny
from test_secure import CKKS, MASKS, intercept

from clients.node import secure as device
from privacy.authority import make_authority
from privacy.errors import FederationFailed
from privacy.sums.boxes import pack_rows
from privacy.sums.masking import Member
from privacy.sums.masks import PART_BYTES
from privacy.sums.terms import Terms
from server.engines import choice as engines
from server.federation import rounds as federation
from server.run.summary import summarise

SIX = ("federation.clients=6", "federation.rounds=1", MASKS)


def client_of(message):
    return message.metadata.dst_node_id - 1


def sent_instead(message, **records):
    content = RecordDict({**message.content, **records})
    changed = Message(content, message.metadata.dst_node_id, message.metadata.message_type)
    changed.metadata.__dict__["_message_id"] = message.metadata.message_id
    return changed


# ---- a server that sends its model to one, and a dead one to all others


def dead(message):
    arrays = message.content["arrays"]
    return ArrayRecord({n: Array(np.zeros_like(a.numpy())) for n, a in arrays.items()})


@pytest.mark.parametrize("scheme", [MASKS, CKKS])
@pytest.mark.parametrize("what", ["weights", "learning rate", "job"])
def test_whoever_is_asked_something_else_gives_nothing(runs, monkeypatch, what, scheme):
    def change(message, deliver):
        if message.metadata.message_type == "train" and client_of(message) != 3:
            config = dict(message.content["config"])
            if what == "learning rate":
                config["learning-rate"] *= 1e-6
            if what == "job":
                config["job"] = config["job"].replace('"local_steps":', '"local_steps":1')
            arrays = dead(message) if what == "weights" else message.content["arrays"]
            message = sent_instead(message, arrays=arrays, config=ConfigRecord(config))
        return deliver(message)

    intercept(monkeypatch, change)
    with pytest.raises(FederationFailed, match="other weights or another job than the members"):
        run_tiny(runs, *SIX[:2], scheme)


def test_terms_of_ones_own_for_each_model_make_no_sum(runs, monkeypatch):
    """The server says of each model that it is the sum's: parts and masks do not fit then."""
    tasks = {}

    def change(message, deliver):
        if "sum" not in message.content:
            return deliver(message)
        told, victim = dict(message.content["sum"]), client_of(message) == 3
        if message.metadata.message_type == "query.keys" and not victim:
            terms = Terms.from_json(told["terms"])
            told["terms"] = told["terms"].replace(terms.task, tasks["dead"])
            tasks[terms.digest] = Terms.from_json(told["terms"]).digest
        if not victim:
            told["digest"] = tasks.get(told["digest"], told["digest"])
        message = sent_instead(message, sum=ConfigRecord(told))
        if message.metadata.message_type == "train" and not victim:
            message = sent_instead(message, arrays=dead(message))
        reply = deliver(message)
        if not reply.has_error() and "digest" in reply.content.get("sum", {}):
            honest = {lie: honest for honest, lie in tasks.items() if honest != "dead"}
            digest = reply.content["sum"]["digest"]
            reply.content["sum"]["digest"] = honest.get(digest, digest)
        return reply

    honest = federation.task_of

    def both(content):
        tasks["dead"] = device.task_of(RecordDict({**content, "arrays": dead(Told(content))}))
        return honest(content)

    monkeypatch.setattr(federation, "task_of", both)
    intercept(monkeypatch, change)
    with pytest.raises(FederationFailed, match=r"stays masked|lied"):
        run_tiny(runs, *SIX)


class Told:
    """A message's content alone."""

    def __init__(self, content):
        self.content = content


# ---- a server that chooses the graph


def test_a_sum_of_few_neighbours_is_refused_by_all(runs, monkeypatch):
    honest = federation.terms_of
    little = {"degree": 2, "needed": 2}
    monkeypatch.setattr(federation, "terms_of", lambda *a: honest(*a).model_copy(update=little))
    with pytest.raises(FederationFailed, match="2 neighbours among 40 members: 26 are the least"):
        run_tiny(runs, "federation.clients=40", "federation.rounds=1", MASKS)


# ---- a roster


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "keys"
    make_authority(folder, ["localhost"], 6)
    return folder


def with_rosters(monkeypatch, keys, clients=range(6), fewest=3, **changed):
    """Clients whose owners know the members; `changed` is the key of some."""
    context = engines.CohortGrid._context

    def named(self, node):
        found = context(self, node)
        if node - 1 in clients:
            own = changed.get(f"node_{node - 1}", keys / f"node-{node - 1}")
            found.node_config |= {
                "members": str(own.parent / "members"), "key": str(own / "node.key"),
                "fewest-members": fewest,
            }  # fmt: skip
        return found

    monkeypatch.setattr(engines.CohortGrid, "_context", named)


@pytest.mark.parametrize("scheme", [MASKS, CKKS])
def test_members_who_know_each_other_reach_the_same_sum_and_it_is_told(
    runs, monkeypatch, keys, scheme
):
    without = run_tiny(runs, *SIX[:2], scheme)
    assert "who is in a sum is the server's word" in summarise(without).trust
    with_rosters(monkeypatch, keys)
    run = run_tiny(runs, *SIX[:2], scheme)
    assert equal(final(run), final(without))
    assert run.rounds[0].secure["signed"] == 6
    assert "the server's word" not in summarise(run).trust


@pytest.mark.parametrize("scheme", [MASKS, CKKS])
def test_a_server_can_add_nobody(runs, monkeypatch, keys, scheme):
    """Three hospitals on the roster; two of five members are the server's own."""
    with_rosters(monkeypatch, keys)
    with pytest.raises(FederationFailed, match=r"clients \[6, 7\] are not on this device's roster"):
        run_tiny(runs, "federation.clients=8", "federation.rounds=1", scheme)


def test_a_server_cannot_speak_for_a_member(runs, monkeypatch, keys, tmp_path):
    """Four of the six are the server's, with keys that it made: the two give them nothing."""
    make_authority(tmp_path / "own", ["localhost"], 6)
    own = {f"node_{c}": tmp_path / "own" / f"node-{c}" for c in range(4)}
    with_rosters(monkeypatch, keys, **own)
    record = run_tiny(runs, *SIX).rounds[0]
    assert record.secure["survivors"] == [0, 1, 2, 3]
    for client in (4, 5):
        said = record.clients[client].failure
        assert said == f"shares: client {client} has 1 neighbours left; 3 are needed to unmask"


def test_one_member_with_another_key_is_left_out_by_the_others(runs, monkeypatch, keys, tmp_path):
    make_authority(tmp_path / "own", ["localhost"], 6)
    with_rosters(monkeypatch, keys, node_2=tmp_path / "own" / "node-2")
    run = run_tiny(runs, *SIX)
    assert run.rounds[0].secure["survivors"] == [0, 1, 3, 4, 5]
    assert "client 2 has 0 neighbours left" in run.rounds[0].clients[2].failure


def test_a_stranger_in_the_middle_is_not_believed(runs, monkeypatch, keys):
    """The server puts its own channel key in the place of client 0's, for client 1."""
    with_rosters(monkeypatch, keys)

    def change(message, deliver):
        if message.metadata.message_type == "query.shares" and client_of(message) == 1:
            told = dict(message.content["sum"])
            rows = device.unpack_rows(told["publics"], 64, 6)
            rows[0] = device.Member(None, 0).channel + rows[0][32:]
            message = sent_instead(message, sum=ConfigRecord({**told, "publics": pack_rows(rows)}))
        reply = deliver(message)
        if message.metadata.message_type == "query.shares" and client_of(message) == 1:
            assert set(device.unpack_rows(reply.content["sum"]["refused"], 0, 6)) == {0}
            assert 0 not in device.unpack_rows(reply.content["sum"]["boxes"], device.BOX_BYTES, 6)
        return reply

    intercept(monkeypatch, change)
    assert run_tiny(runs, *SIX).rounds[0].secure["survivors"] == [0, 1, 2, 3, 4, 5]


def test_an_owner_can_ask_for_more_members(runs, monkeypatch, keys):
    with_rosters(monkeypatch, keys, fewest=5)
    with pytest.raises(FederationFailed, match=r"a sum of 4 members; .* wants 5 \(fewest-members"):
        run_tiny(runs, *SIX)
    run_tiny(runs, *SIX, "secure.survivors=0.8")


def test_a_roster_that_cannot_be_read_tells_no_path(runs, monkeypatch, keys, tmp_path):
    with_rosters(monkeypatch, keys, **{f"node_{c}": tmp_path / "secret-place" for c in range(6)})
    with pytest.raises(FederationFailed, match="cannot read its list of members") as failed:
        run_tiny(runs, *SIX)
    assert "secret-place" not in str(failed.value)


# ---- members that lie


def lying(monkeypatch, method, who, change):
    honest = getattr(Member, method)

    def lie(self, *arguments):
        told = honest(self, *arguments)
        return change(told) if self.me in who else told

    monkeypatch.setattr(Member, method, lie)


def test_one_liar_among_six_ends_no_round(runs, monkeypatch):
    """It tells zeros for each part; the sum is made of the others' parts, and it is named."""
    expected = run_tiny(runs, *SIX)
    lying(monkeypatch, "reveal", {2}, lambda told: {m: bytes(PART_BYTES) for m in told})
    run = run_tiny(runs, *SIX)
    assert equal(final(run), final(expected))
    assert run.rounds[0].secure["liars"] == [2]


@pytest.mark.parametrize("how", ["boxes", "commitment"])
def test_a_dealer_that_lies_is_left_out_of_the_next_attempt(runs, monkeypatch, how):
    def spoil(dealt):
        boxes = {m: bytes(len(b)) for m, b in dealt.boxes.items()} if how == "boxes" else None
        return type(dealt)(boxes or dealt.boxes, dealt.proofs, bytes(32))

    lying(monkeypatch, "share", {2}, spoil)
    run = run_tiny(runs, *SIX)
    seen = run.rounds[0].secure
    assert seen["survivors"] == [0, 1, 3, 4, 5]
    assert seen["members"] == 5
    assert "lied: clients [2]" in run.rounds[0].clients[2].failure


def test_keys_that_are_none_end_their_senders_part_only(runs, monkeypatch):
    def change(message, deliver):
        reply = deliver(message)
        if message.metadata.message_type == "query.keys" and client_of(message) == 2:
            reply.content["sum"]["publics"] = bytes(64)
        return reply

    intercept(monkeypatch, change)
    run = run_tiny(runs, *SIX)
    assert run.rounds[0].secure["survivors"] == [0, 1, 3, 4, 5]
    assert "not a public key" in run.rounds[0].clients[2].failure


# ---- marks


def test_two_lists_at_once_get_one_answer(runs, monkeypatch, tmp_path):
    """Each message gets the memory as it was, as from a SuperLink that hands it out twice."""
    place = device.Place.of

    def marked(context):
        here = place(context)
        return device.Place(
            here.client, here.policy, here.roster, device.Marks(tmp_path / f"{here.client}.sums")
        )

    monkeypatch.setattr(device.Place, "of", marked)
    answers = []

    def change(message, deliver):
        if message.metadata.message_type != "query.unmask" or client_of(message) != 1:
            return deliver(message)
        context = grids[-1]._context(2)
        before = dict(context.state["sum"])
        reply = deliver(message)
        context.state["sum"] = ConfigRecord(before)
        told = dict(message.content["sum"])
        told["survivors"] = device.pack_list([0, 1, 2, 3])
        answers.append(deliver(sent_instead(message, sum=ConfigRecord(told))))
        context.state["sum"] = ConfigRecord(before)
        answers.append(deliver(message))
        return reply

    grids = []
    start = engines.CohortGrid.__init__

    def remembered(self, *arguments):
        start(self, *arguments)
        grids.append(self)

    monkeypatch.setattr(engines.CohortGrid, "__init__", remembered)
    intercept(monkeypatch, change)
    run_tiny(runs, *SIX)
    second, again = answers
    assert "unmask: asked for twice in one sum" in second.error.reason
    assert not again.has_error()  # the very same list is told again
