"""A node with records of its own, asked by messages, as a server asks; and jobs to ask it with."""

import json

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

import clients.node.app
from clients.data.formats import read_digits
from clients.data.told.pictures import state
from clients.data.told.source import Source
from clients.protocol import Form
from clients.training.job import Job
from clients.training.net import build
from privacy.dp.journal import Journal
from server.experiment.loading import load_experiment
from server.federation.grid import CohortGrid

ROUND = {"learning-rate": 0.5, "server-round": 1, "run": "r"}


class Device:
    """One node on records of its own.

    Args:
        records: grey pictures and labels, or what was told of a file.
    """

    def __init__(self, home, records, classes=10):
        self.folder, self.journal = home / "data", Journal(home / "ledger.jsonl")
        self.folder.mkdir(parents=True)
        self.told = records
        if not isinstance(records, Source):
            np.savez(self.folder / "data.npz", **records)
            self.told = state(self.folder, classes, 200)
        self.grid = CohortGrid(clients.node.app.app, 1, 1)
        self.config = self.grid._context(1).node_config
        self.config.update({"ledger": str(self.journal.path), "epsilon-limit": 50.0})
        self.config.update(self.told.config)

    def say(self, kind, content):
        """Its reply to a message."""
        (reply,) = self.grid.send_and_receive([Message(content, 1, kind)])
        return reply

    def ask(self, job=None, weights=None, kind="train", **changes):
        """Its reply to a job, which is a JSON object."""
        weights = initial() if weights is None else weights
        config = {**ROUND, "job": json.dumps(job or tiny()), **changes}
        arrays = ArrayRecord({name: Array(w) for name, w in weights.items()})
        return self.say(kind, RecordDict({"arrays": arrays, "config": ConfigRecord(config)}))

    def refuses(self, *arguments, **changes):
        """Why it refuses, with nothing charged."""
        reply = self.ask(*arguments, **changes)
        assert reply.has_error()
        assert not self.journal.lines
        return reply.error.reason


def tiny(**sections):
    """The job of `tiny` for devices of their own, with changes to its sections."""
    settings = ["data.partition=nodes", "data.classes=10", "training.noise=secure"]
    job = load_experiment("tiny", [*settings, "budget.noise_multiplier=1.0"]).job
    told = json.loads(job.model_dump_json())
    told["data"]["nominal_records"] = 200
    for name, change in sections.items():
        told[name] = told[name] | change if isinstance(change, dict) else change
    return told


def initial(**sections):
    job = Job.from_json(json.dumps(tiny(**sections)))
    model = build(job.model, Form((8, 8), job.data.classes), job.arithmetic)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def some(num, labels=range(10), seed=0):
    """`num` digits with such labels only."""
    digits = read_digits()
    chosen = np.flatnonzero(np.isin(digits["train_y"], list(labels)))
    chosen = np.random.default_rng(seed).permutation(chosen)[:num]
    return {f"train_{part}": digits[f"train_{part}"][chosen] for part in "xy"}
