"""compose.yml's federation as processes on this machine: TLS, node keys, own data, and faults."""

import fcntl
import sys
import tomllib

import numpy as np
import pytest
from deployed import Federation, wait_for

from privacy.authority import make_authority
from privacy.journal import Journal
from server.commands.data import split
from server.experiment import load_experiment
from server.launch import launch
from server.run import Run

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
        join = ["-s", "federation.engine=superlink", "-s", f"federation.address={here.address}"]
        trusted = tmp_path / "keys" / "server" / "authority.pem"
        join += ["-s", f"federation.root_certificates={trusted}"]
        for name in ("keys", "foreign"):
            make_authority(tmp_path / name, ["127.0.0.1"], 3)
        split("tiny", tmp_path / "nodes", SETTINGS)

        # An unknown node and a node that trusts another authority; three that belong.
        here.start("superlink")
        here.wait_for_log("superlink", "3 nodes admitted")
        here.start("unknown", "node-0", key=tmp_path / "foreign" / "node-0" / "node.key")
        here.start("misled", "node-0", authority=tmp_path / "foreign" / "server" / "authority.pem")
        for name in NODES:
            limit = {"epsilon_limit": 8} if name == "node-1" else {}
            here.spawn(name, *here.command(name, **limit), "--allow-seeded")

        # The unknown and the misled are refused, each by who should.
        here.wait_for_log("unknown", "Failed to activate SuperNode")
        here.wait_for_log("misled", "CERTIFICATE_VERIFY_FAILED")
        here.wait_for_log("superlink", '/v1/fleet/activate-node HTTP/1.1" 4')
        for name in ("unknown", "misled"):
            here.kill(name)
            assert "SuperNode ID" not in here.log(name)

        # The SuperLink dies after the first round, and comes back: the simulation's weights.
        here.spawn("a", "run", "tiny", *TINY, *join, "-s", "training.noise=seeded", "--name", "a")
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
        simulated = launch(load_experiment("tiny", SETTINGS), tmp_path / "simulated")
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
        assert tomllib.loads(environment)["federation"]["engine"] == "superlink"


def is_free(run):
    with (run.path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
