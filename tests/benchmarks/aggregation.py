"""What secure aggregation costs a round, without the training: all clients' work and the server's.

Updates of 26,010 numbers (Opacus's MNIST net) go through the messages, handlers and in-process
grid of a real run, two clients at a time. Beside it the same round with updates in the clear, under
Flower's FedAvg. With `--short` fewer clients and no repeats.
"""

import logging
import statistics
import sys
import time
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from clients.node import secure
from clients.node.app import answer_phase, identify
from clients.training.job import Job
from privacy.dp.budget import Budget
from server.experiment.experiment import Experiment, Federation
from server.experiment.secrecy import terms_of
from server.federation.grid import CohortGrid
from server.federation.secure import SecureSum

PARAMETERS = 26_010
EXAMPLES = 600
REPEATS = {10: 3, 100: 3, 1000: 1}
WORKERS = 2
UNITS = {
    "none": Budget(unit="none"),
    "client": Budget(unit="client", noise_multiplier=5.0, clip=1.0),
}


def client_app(job: Job, updates: dict[int, np.ndarray]) -> ClientApp:
    """Devices that have trained already."""
    app = ClientApp()
    for name, step in secure.PHASES.items():
        app.query(name)(answer_phase(step))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client, _ = identify(context)
        before = {"w": message.content.array_records["arrays"]["w"].numpy()}
        after = {"w": before["w"] + updates[client]}
        if secure.SUM in message.content:
            content = secure.conceal(
                message.content, context.state, secure.Place(client), job, before, after, EXAMPLES
            )
            content["spent"] = ConfigRecord({"ledger": "[]"})
        else:
            content = RecordDict(
                {
                    "arrays": ArrayRecord({"w": Array(after["w"])}),
                    "metrics": MetricRecord({"num-examples": EXAMPLES}),
                }
            )
        return Message(content, reply_to=message)

    return app


def one_round(scheme: str, unit: str, clients: int) -> dict[str, Any]:
    """Seconds of a round, of its phases, bytes of a client, and how far the mean is off."""
    rng = np.random.default_rng(0)
    updates = {c: rng.normal(0, 0.01, PARAMETERS).astype(np.float32) for c in range(clients)}
    experiment = Experiment(
        budget=UNITS[unit],
        federation=Federation(clients=clients, secure_aggregation=scheme),  # type: ignore[arg-type]
    )
    job = experiment.job
    grid = CohortGrid(client_app(job, updates), clients, WORKERS)
    weights = {"w": np.zeros(PARAMETERS, np.float32)}
    arrays = ArrayRecord({"w": Array(weights["w"])})
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({})})
    messages = [Message(content, node, "train") for node in grid.clients.values()]
    start = time.perf_counter()
    if scheme == "none":
        mean, _ = FedAvg().aggregate_train(1, grid.send_and_receive(messages))
        assert mean is not None
        return {"seconds": time.perf_counter() - start, "off": 0.0}
    task = secure.task_of(content)
    terms = terms_of(experiment, "benchmark", 1, PARAMETERS, task, list(range(clients)))
    one = SecureSum(grid, grid.clients, terms, 600.0, None)
    found = one.run(messages, weights)["w"]
    seconds = time.perf_counter() - start
    seen = one.seen.to_dict()
    return {
        "seconds": seconds,
        "off": float(np.abs(found - np.mean(list(updates.values()), axis=0)).max()),
        "degree": terms.degree,
        "phases_s": seen["seconds"],
        "up_bytes": seen["up_bytes"] / clients,
        "down_bytes": seen["down_bytes"] / clients,
    }


def run() -> dict[str, Any]:
    """Medians of each scheme and number of clients, with least and greatest."""
    short = "--short" in sys.argv
    logging.getLogger("flwr").setLevel(logging.ERROR)
    results: dict[str, Any] = {"parameters": PARAMETERS, "workers": WORKERS}
    for scheme, unit in (
        ("masks", "none"),
        ("ckks", "none"),
        ("none", "none"),
        ("masks", "client"),
    ):
        for clients, repeats in REPEATS.items():
            if clients == 1000 and (short or unit == "client"):
                continue
            one_round(scheme, unit, 10)  # compiles and imports
            rounds = [one_round(scheme, unit, clients) for _ in range(1 if short else repeats)]
            seconds = [one["seconds"] for one in rounds]
            results[f"{scheme}, unit {unit}, {clients} clients"] = {
                **rounds[0],
                "seconds": statistics.median(seconds),
                "least_s": min(seconds),
                "greatest_s": max(seconds),
            }
    return results
