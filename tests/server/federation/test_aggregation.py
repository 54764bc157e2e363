"""Streaming aggregation: Flower's own result, with a handful of replies alive at a time."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.training.arrays import held
from privacy.dp.ledger import Ledger
from server.experiment.strategy import STRATEGIES, Strategy
from server.federation.aggregation import Gathered, Update
from server.federation.grid import CohortGrid
from server.federation.strategies import build_strategy

NEEDS = {"fedprox": {"proximal_mu": 0.1}}


def updates(num, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(num):
        weights = {"w": rng.normal(size=(3, 2)).astype(np.float32), "b": np.float32(rng.normal(2))}
        weights["b"] = np.atleast_1d(weights["b"])
        examples = int(rng.integers(1, 100))
        metrics = MetricRecord({"num-examples": examples, "train_loss": float(rng.random())})
        yield Update(weights, examples, metrics, Ledger(), 0)


def replies(some):
    for update in some:
        content = RecordDict({"arrays": held(update.weights), "metrics": update.metrics})
        yield Message(content, dst_node_id=0, message_type="train")


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_result_is_that_of_flowers_strategy_on_all_replies(name):
    settings = Strategy(name=name, **NEEDS.get(name, {}))
    ours, flowers = (build_strategy(settings, 0.1) for _ in range(2))
    grid = CohortGrid(ClientApp(), num_clients=9, workers=1)
    start = {k: np.zeros_like(v) for k, v in next(updates(1)).weights.items()}
    for number in (1, 2):
        for strategy in (ours, flowers):
            list(strategy.configure_train(number, held(start), ConfigRecord(), grid))
        gathered = Gathered(ours)
        for update in updates(9, seed=number):
            gathered.add(update)
        found = gathered.aggregate(number)
        expected = flowers.aggregate_train(number, list(replies(updates(9, seed=number))))[0]
        assert list(found) == list(expected)
        for key, array in expected.items():
            np.testing.assert_allclose(found[key].numpy(), array.numpy(), rtol=1e-5, atol=1e-6)


def test_only_a_handful_of_replies_is_alive():
    alive, most = 0, 0
    app = ClientApp()

    @app.train()
    def train(message, context):
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return Message(RecordDict({"arrays": ArrayRecord()}), reply_to=message)

    grid = CohortGrid(app, num_clients=50, workers=2)
    messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
    order = []
    for reply in grid.send_and_receive(messages):
        alive -= 1
        order.append(reply.metadata.src_node_id)
    assert order == list(range(1, 51))
    assert most <= 8
