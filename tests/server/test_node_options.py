"""`privet node` and who it counts as a member of a sum: nothing starts where that is not clear."""

import pytest

from clients.node import machine
from privacy.authority import make_authority
from server.commands.data import split


@pytest.fixture
def keys(tmp_path):
    make_authority(tmp_path / "keys", ["localhost"], 4)
    split("tiny", tmp_path / "nodes", ["federation.clients=4"])
    return tmp_path / "keys"


@pytest.fixture
def start(privet, tmp_path, monkeypatch):
    """Call `privet node` as device 1 of 4; what it would have started, and what it said."""
    started = []
    monkeypatch.setattr(machine, "run_node", started.append)

    def call(*options):
        started.clear()
        status, _, said = privet(
            "node", "--data", str(tmp_path / "nodes" / "node-1"), "--link", "127.0.0.1:9",
            "--ledger", str(tmp_path / "ledger.jsonl"), "--client", "1", "--of", "4",
            "--classes", "10", "--epsilon-limit", "8", *options,
        )  # fmt: skip
        assert bool(started) == (status == 0)
        return (started[0].config if started else status), said

    return call


def test_a_node_that_insists_on_sums_must_know_their_members(start, keys):
    status, said = start("--secure-aggregation", "masks")
    assert status == 2
    assert "give --members, a folder of the members' public keys" in said


def test_a_node_without_members_says_whom_it_believes(start, keys):
    config, said = start()
    assert "members" not in config
    assert "no --members: the server says who is in a secure sum" in said


@pytest.mark.parametrize(
    ("key", "fewest", "says"),
    [
        (None, 3, "--members: give --key too"),
        ("node-1", 5, "4 members, and a sum of 5 is asked for"),
        ("node-2", 3, "is not the public half of"),
    ],
)
def test_members_that_cannot_be_counted_are_refused(start, keys, key, fewest, says):
    own = ["--key", str(keys / key / "node.key")] if key else []
    options = ["--members", str(keys / "members"), "--fewest-members", str(fewest)]
    status, said = start(*own, *options)
    assert status == 2
    assert says in said
    assert len(said.splitlines()) == 1


def test_the_roster_goes_into_the_nodes_own_config(start, keys):
    config, said = start(
        "--key", str(keys / "node-1" / "node.key"), "--members", str(keys / "members"),
        "--fewest-members", "4", "--secure-aggregation", "masks",
    )  # fmt: skip
    assert "4 members are known by their keys" in said
    assert config["members"] == str(keys / "members")
    assert config["key"] == str(keys / "node-1" / "node.key")
    assert config["fewest-members"] == 4
