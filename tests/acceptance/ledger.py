"""A ledger in a stranger's ClientApp, under Flower's own programs: `flwr run`, and SuperNodes.

run as: python tests/acceptance/ledger.py

The app is nobody's of ours; one line of it names `ledger_mod`. Exit status 1 unless every reply is
charged before it leaves, the limit holds within a run and over runs, and what a SuperNode's owner
says goes before what the app says.
"""

# ruff: noqa: E402
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import tomli_w
from deployed import free_port, wait_for

from privacy.dp.journal import Journal
from server.engines.submission import flower_environment

BIN, ROOT = Path(sys.executable).parent, Path(__file__).parents[2]
ROUNDS, NODES = 5, 2
LIMIT, OWNERS = 5.0, 4.0  # of the app, and of one node's owner: room for few replies of epsilon 3
APP = f"""
import json
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp import ServerApp

from clients import ledger_mod

client = ClientApp(mods=[ledger_mod(LocalDpMod(1.0, 2.0, 3.0, 1e-5), epsilon_limit={LIMIT})])
server = ServerApp()


@client.train()
def train(message, context):
    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    return Message(RecordDict({{"arrays": ArrayRecord([weights + 1])}}), reply_to=message)


@server.main()
def main(grid, context):
    import time
    while len(nodes := list(grid.get_node_ids())) < {NODES}:
        time.sleep(0.2)
    told = []
    for _ in range({ROUNDS}):
        content = RecordDict({{"arrays": ArrayRecord([np.zeros(3)])}})
        asked = [Message(content, node, "train") for node in nodes]
        replies = grid.send_and_receive(asked)
        told.append(sorted(r.error.reason if r.has_error() else "" for r in replies))
    Path(context.run_config["told"]).write_text(json.dumps(told))
"""


class Flower:
    """Its programs, in a home of their own; all are gone when it is closed."""

    def __init__(self, home: Path) -> None:
        self.home, self.running = home, []
        self.environment = flower_environment(home) | {
            "PYTHONPATH": str(ROOT), "TMPDIR": str(home), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        (home / "app").mkdir()
        (home / "app" / "app.py").write_text(APP)
        about = {"serverapp": "app:server", "clientapp": "app:client"}
        flwr = {"app": {"publisher": "somebody", "components": about, "config": {"told": ""}}}
        project = {"name": "theirs", "version": "1.0.0", "description": "", "license": "MIT"}
        (home / "app" / "pyproject.toml").write_text(
            tomli_w.dumps({"project": project, "tool": {"flwr": flwr}})
        )

    def __enter__(self) -> "Flower":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        mark = f"FLWR_HOME={self.home}".encode()  # Flower and Ray detach some of theirs
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    def start(self, *words: str) -> None:
        """One of its programs, told of in a log."""
        with (self.home / "log").open("ab") as log:
            self.running.append(
                subprocess.Popen(
                    [BIN / words[0], *words[1:]], env=self.environment, stdout=log, stderr=log,
                    start_new_session=True,
                )
            )  # fmt: skip

    def run(self, where: str, *more: str) -> list[list[str]]:
        """`flwr run` of the app: of each round, what each reply said was wrong."""
        told = self.home / f"told-{len(list(self.home.glob('told-*')))}.json"
        words = ["run", str(self.home / "app"), where, "--stream", *more]
        done = subprocess.run(
            [BIN / "flwr", *words, "--run-config", f'told="{told}"'],
            env=self.environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if not told.exists():
            log = self.home / "log"
            raise SystemExit(f"{done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}")
        return json.loads(told.read_text())


def answered(rounds: list[list[str]]) -> list[int]:
    """How many replies of each round are no errors; each error must be the limit's."""
    for reason in (reason for replies in rounds for reason in replies if reason):
        assert "epsilon-limit" in reason, reason
    return [sum(not reason for reason in replies) for replies in rounds]


def simulated(home: Path) -> dict[str, object]:
    """`flwr run`, nodes in Ray's processes: the ledger is kept in Flower's context."""
    with Flower(home) as flower:
        found = answered(flower.run("local", "--federation-config", f"num-supernodes={NODES}"))
    return {"answered": found, "holds": found[0] == NODES and found[-1] == 0}


def on_supernodes(home: Path) -> dict[str, object]:
    """SuperNodes, one with an owner's journal and limit: two runs of the same app, of which the
    journal holds both, and Flower's context one."""
    port, journal = free_port(), Journal(home / "ledger.jsonl")
    with Flower(home) as flower:
        address = f"127.0.0.1:{port}"
        (home / "config.toml").write_text(
            tomli_w.dumps({"superlink": {"there": {"address": address, "insecure": True}}})
        )
        flower.start("flower-superlink", "--insecure", "--port", str(port))
        for owned in (f'ledger="{journal.path}" epsilon-limit={OWNERS}', "partition-id=1"):
            flower.start(
                "flower-supernode", "--insecure", "--superlink", address, "--port",
                str(free_port()), "--node-config", owned,
            )  # fmt: skip
        wait_for("nodes", lambda: (home / "log").read_text().count("SuperNode ID") == NODES, 120)
        runs = [answered(flower.run("there")) for _ in range(2)]
    spent = journal.epsilon(1e-5)
    charged = sum(entry.steps for entry in journal.spent.entries)
    first, second = (sum(replies) for replies in runs)
    return {
        "answered": runs,
        "charged_to_the_owners_journal": charged,
        "epsilon_in_the_owners_journal": round(spent, 3),
        "holds": runs[0][0] == NODES and runs[0][-1] == 0 and 0 < spent <= OWNERS
        and second == first - charged,
    }  # fmt: skip


def main() -> int:
    figures = {}
    for name, part in (("flwr run", simulated), ("SuperNodes", on_supernodes)):
        with tempfile.TemporaryDirectory(prefix="privet-ledger-") as home:
            figures[name] = part(Path(home))
    print(json.dumps(figures, indent=1))
    return 0 if all(one["holds"] for one in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
