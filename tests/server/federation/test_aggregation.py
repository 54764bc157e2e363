"""Streaming aggregation: Flower's own result, with a handful of replies alive at a time."""

from threading import current_thread

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


def sleepless(begun, fail=None):
    """An app that notes which nodes it trained, and in which threads."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        begun.append((context.node_id, current_thread()))
        if context.node_id == fail:
            raise SystemExit("the app's own exit")
        return Message(RecordDict(), reply_to=message)

    return app


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_who_asks_for_replies_is_one_of_the_workers(workers):
    begun = []
    grid = CohortGrid(sleepless(begun), num_clients=40, workers=workers)
    for _ in range(3):
        messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
        assert [r.metadata.src_node_id for r in grid.send_and_receive(messages)] == list(
            range(1, 41)
        )
    assert sorted(node for node, _ in begun) == sorted([*range(1, 41)] * 3)
    assert len({thread for _, thread in begun}) <= workers
    assert current_thread() in {thread for _, thread in begun}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("fail", [1, 2, 17, 40])
def test_an_exit_in_whichever_thread_reaches_who_asks(workers, fail):
    grid = CohortGrid(sleepless([], fail), num_clients=40, workers=workers)
    messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
    with pytest.raises(SystemExit):
        list(grid.send_and_receive(messages))


@pytest.mark.parametrize("workers", [1, 3])
def test_who_asks_for_no_more_has_no_more_made(workers):
    begun = []
    grid = CohortGrid(sleepless(begun), num_clients=200, workers=workers)
    messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
    replies = grid.send_and_receive(messages)
    next(replies)
    replies.close()
    made = len(begun)
    assert made < 20
    assert [r.metadata.src_node_id for r in grid.send_and_receive(messages[:3])] == [1, 2, 3]
    assert len(begun) == made + 3


def test_large_replies_wait_for_no_others():
    alive, most = 0, 0
    app = ClientApp()

    @app.train()
    def train(message, context):
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return Message(RecordDict(), reply_to=message)

    grid = CohortGrid(app, num_clients=9, workers=1)
    content = RecordDict({"arrays": held({"w": np.zeros(1 << 18, np.float32)})})
    for _ in grid.send_and_receive([Message(content, node, "train") for node in range(1, 10)]):
        alive -= 1
    assert most == 1
