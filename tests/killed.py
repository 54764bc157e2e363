"""A device that is killed (kill -9) in each phase of a round, and then asked the same again.

Prints JSON: for each phase what its ledger held after the kill, after the retry, after the retry of
that, and whether the two answers were the same bytes. A process of its own, which answers once
and then forks: what is loaded and compiled is there for all.
"""

import json
import os
import signal
import sys
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

import clients.node.app
import clients.node.holder
from clients.data.sets import load
from clients.training.net import build
from privacy.dp.journal import Journal
from server.experiment.loading import load_experiment
from server.federation.grid import CohortGrid

PHASES = ("before the charge", "charged", "computed", "released")


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def ask(ledger, data, phase=""):
    """One training message to the device; what it answers, as bytes."""
    grid = CohortGrid(clients.node.app.app, 1, 1)
    config = {"data": str(data), "ledger": str(ledger), "epsilon-limit": 50.0}
    config |= {"classes": 10, "height": 8, "width": 8, "records": 200}
    grid._context(1).node_config.update(config)
    settings = ["data.partition=nodes", "data.classes=10", "data.nominal_records=200"]
    settings += ["training.noise=secure"]
    job = load_experiment("tiny", [*settings, "budget.noise_multiplier=1.0"]).job
    dataset = load(job.data)
    model = build(job.model, dataset.form, job.arithmetic)
    for tensor in model.state_dict().values():
        tensor.zero_()
    arrays = ArrayRecord({k: Array(v.numpy()) for k, v in model.state_dict().items()})
    about = {"job": job.model_dump_json(), "learning-rate": 0.5, "server-round": 1, "run": "r"}
    sabotage = {
        "before the charge": lambda: setattr(Journal, "charge", die),
        "charged": lambda: setattr(clients.node.app, "train", die),
        "computed": lambda: setattr(Journal, "release", die),
        "released": lambda: setattr(clients.node.app, "Message", die),
    }
    if phase:
        sabotage[phase]()
    message = Message(RecordDict({"arrays": arrays, "config": ConfigRecord(about)}), 1, "train")
    (reply,) = grid.send_and_receive([message])
    sent = reply.content.array_records["arrays"]
    return b"".join(array.data for _, array in sorted(sent.items()))


def in_a_fork(*arguments):
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write, ask(*arguments)[:60_000])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read()
    return said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder, data):
    found = {}
    ask(folder / "first.jsonl", data)
    for number, phase in enumerate(PHASES):
        ledger = folder / f"{number}.jsonl"

        def kinds(ledger=ledger):
            return [line["kind"] for line in Journal(ledger).lines]

        _, status = in_a_fork(ledger, data, phase)
        killed = kinds()
        first, _ = in_a_fork(ledger, data)
        retried = kinds()
        second, _ = in_a_fork(ledger, data)
        found[phase] = {
            "killed": status == -signal.SIGKILL,
            "ledger": [killed, retried, kinds()],
            "same": len(first) > 1000 and first == second,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
