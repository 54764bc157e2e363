"""compose.yml's federation as processes on this machine: TLS, node keys, own data, and faults."""

import fcntl
import re
import sys
import tomllib
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from deployed import Federation, heartbeat, wait_for
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import sign_message

from privacy.authority import make_authority
from privacy.dp.journal import Journal
from server.commands.data import split
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run

NODES = ("node-0", "node-1", "node-2")
SETTINGS = ["federation.clients=3", "federation.rounds=2"]
TINY = [word for setting in SETTINGS for word in ("-s", setting)]

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="ends what Flower detaches by way of /proc"
)


def ledger(home, name):
    return Journal(home / "ledgers" / name / "ledger.jsonl")


def charges(home, name, run):
    return [
        line for line in ledger(home, name).lines if line["kind"] == "charge" and line["run"] == run
    ]


def test_three_nodes_and_what_can_happen_to_them(tmp_path):
    with Federation(tmp_path) as here:
        join = ["-s", "federation.engine=superlink", "-s", f"federation.address={here.control}"]
        trusted = tmp_path / "keys" / "server" / "authority.pem"
        join += ["-s", f"federation.root_certificates={trusted}"]
        for name in ("keys", "foreign"):
            make_authority(tmp_path / name, ["127.0.0.1"], 3)
        split("tiny", tmp_path / "nodes", SETTINGS)

        # An unknown node and a node that trusts another authority; three that belong.
        here.start("superlink")
        here.wait_for_log("superlink", "3 nodes admitted")
        foreign = {"key": tmp_path / "foreign/node-0/node.key"}
        here.start("unknown", "node-0", **foreign, members=tmp_path / "foreign/members")
        here.start("misled", "node-0", authority=tmp_path / "foreign" / "server" / "authority.pem")
        for name in NODES:
            limit = {"epsilon_limit": 8} if name == "node-1" else {}
            here.spawn(name, *here.command(name, **limit), "--allow-seeded")

        # The unknown and the misled are refused, each by who should.
        here.wait_for_log("unknown", "not in the SuperLink's folder of keys")
        here.wait_for_log("misled", "CERTIFICATE_VERIFY_FAILED")
        here.wait_for_log("superlink", '/v1/fleet/activate-node HTTP/1.1" 4')
        for name in ("unknown", "misled"):
            here.kill(name)
            assert "SuperNode ID" not in here.log(name)

        # So are messages that were altered, or kept for later.
        key = load_ssh_private_key((tmp_path / "keys/node-0/node.key").read_bytes(), None)
        here.wait_for_log("node-0", "SuperNode ID: ")
        node = int(re.search(r"SuperNode ID: (\d+)", here.log("node-0"))[1])
        for number, (change, status) in enumerate(tampered(key)):
            asked = node ^ (number == 1)
            assert heartbeat(here.address, trusted, key, asked, change) == status, number

        # Behind masks, the SuperLink dies after the first round, and comes back: the simulation's
        # weights.
        masks = "federation.secure_aggregation=masks"
        seeded = ["-s", "training.noise=seeded", "-s", masks]
        here.spawn("a", "run", "tiny", *TINY, *join, *seeded, "--name", "a")
        record = tmp_path / "runs" / "a" / "rounds.jsonl"
        wait_for("the first round", lambda: record.exists() and record.read_bytes().count(b"\n"))
        here.kill("superlink")
        assert here.ended("a") == 1
        assert "go on with: privet resume a" in here.log("a")
        here.start("superlink")
        here.wait_for_log("superlink", "3 nodes admitted", count=2)
        wait_for("the run to be let go of", lambda: is_free(Run(tmp_path / "runs" / "a")))
        status, said = here.run("resume", "a")
        assert status == 0, said
        deployed = Run(tmp_path / "runs" / "a")
        simulated = launch(load_experiment("tiny", [*SETTINGS, masks]), tmp_path / "simulated")
        for number in (1, 2):
            ours, theirs = deployed.weights(number), simulated.weights(number)
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
        for client, name in enumerate(NODES):  # and no round was charged twice
            assert ledger(tmp_path, name).spent.entries == simulated.ledgers[client].entries

        # A node dies with a round's message in its hands, and another one's owner allows no more
        # than was spent; noise that nobody can repeat.
        gate = (tmp_path / "ledgers" / "node-2" / "ledger.jsonl.lock").open("w")
        fcntl.flock(gate, fcntl.LOCK_EX)  # it cannot write down the charge, so it does not compute
        received = here.log("node-2").count("Receiving: train")
        little = ["-s", "budget.epsilon=1.0", "-s", "federation.rounds=1"]
        here.spawn("b", "run", "tiny", *TINY, *join, *little, "--name", "b")
        here.wait_for_log("node-2", "Receiving: train", count=received + 1)
        here.kill("node-2")
        fcntl.flock(gate, fcntl.LOCK_UN)
        assert here.ended("b") == 0, here.log("b")
        run = Run(tmp_path / "runs" / "b")
        assert run.experiment.training.noise == "secure"
        spent, refused, dead = run.rounds[0].clients
        assert spent.failure is None
        assert refused.refused
        assert "epsilon-limit = 8" in refused.failure
        assert dead.failure
        assert len(charges(tmp_path, "node-0", run.identity)) == 1
        assert not charges(tmp_path, "node-1", run.identity)
        assert run.ledgers[1].entries == ()
        assert not charges(tmp_path, "node-2", run.identity)
        assert run.ledgers[2].entries == run.ledgers[0].entries  # mute: taken as spent

        environment = (tmp_path / "runs" / "a" / "experiment.toml").read_text()
        assert {r.secure["signed"] for r in deployed.rounds} == {3}
        assert not {r.secure["signed"] for r in simulated.rounds} - {0}
        assert tomllib.loads(environment)["federation"]["engine"] == "superlink"


def tampered(key):
    """Changes to a signed request, and the SuperLink's answer; the second is of another node."""

    def signed(age_s):
        then = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
        seal = b64encode(sign_message(key, then.encode())).decode()
        return {TIMESTAMP_HEADER: then, FLEET_HTTP_SIGNATURE_HEADER: seal}

    fresh, stale = signed(0), signed(3600)
    later = {TIMESTAMP_HEADER: signed(0)[TIMESTAMP_HEADER]}
    return [
        (lambda headers: None, 200),
        (lambda headers: None, 401),
        (lambda headers: headers.pop(FLEET_HTTP_SIGNATURE_HEADER), 401),
        (lambda headers: headers.update(fresh), 200),
        (lambda headers: headers.update(fresh | later), 401),
        (lambda headers: headers.update(stale), 401),
    ]


def is_free(run):
    with (run.path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
