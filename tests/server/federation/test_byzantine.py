"""Clients that lie: Flower's robust strategies and norm bounds hold where the plain mean falls."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from server.engines import choice as engines
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.federation.strategies import bounded

HONEST = (
    "budget.unit=none", "federation.clients=10", "training.learning_rate=0.5",
    "training.local_steps=10", "federation.rounds=6", "federation.evaluate_every=6",
)  # fmt: skip
LIARS = (2, 5, 8)
LIES = {"flipped": -4.0, "scaled": 50.0}
DEFENCES = {
    "fedmedian": (),
    "fedtrimmedavg": ("strategy.beta=0.35",),
    "multikrum": ("strategy.num_malicious_nodes=3", "strategy.num_nodes_to_select=5"),
    "krum": ("strategy.num_malicious_nodes=3",),
}


def lying(monkeypatch, factor):
    """Some clients send their update times a factor, or without sense."""
    deliver = engines.CohortGrid._deliver

    def malicious(self, message):
        reply = deliver(self, message)
        client = message.metadata.dst_node_id - 1
        if client in LIARS and message.metadata.message_type == "train":
            before = message.content["arrays"]
            rng = np.random.default_rng(client)
            arrays = {}
            for name, array in reply.content["arrays"].items():
                old = before[name].numpy()
                change = array.numpy() - old
                if factor > 1:  # a direction of its own, made large
                    change = rng.permutation(change.ravel()).reshape(change.shape)
                arrays[name] = Array((old + factor * change).astype(old.dtype))
            reply.content["arrays"] = ArrayRecord(arrays)
        return reply

    monkeypatch.setattr(engines.CohortGrid, "_deliver", malicious)


def accuracy(runs, *assignments):
    run = launch(load_experiment("tiny", [*HONEST, *assignments]), runs)
    return run.rounds[-1].accuracy


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return accuracy(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("lie", LIES)
def test_the_mean_falls_and_the_defences_hold(runs, monkeypatch, undisturbed, lie):
    """Three of ten lie. With a defence the accuracy stays near that without liars."""
    lying(monkeypatch, LIES[lie])
    assert undisturbed > 0.8
    assert accuracy(runs) < undisturbed - 0.3
    for name, options in DEFENCES.items():
        assert accuracy(runs, f"strategy.name={name}", *options) > undisturbed - 0.12, name


def test_a_norm_bound_holds_scaled_clients(runs, monkeypatch, undisturbed):
    """With any strategy: what one client can move is its share of the bound."""
    lying(monkeypatch, LIES["scaled"])
    assert accuracy(runs, "strategy.norm_bound=1.5") > undisturbed - 0.12
    near = launch(
        load_experiment("tiny", [*HONEST[:-1], "federation.rounds=1", "strategy.norm_bound=0.01"]),
        runs,
    )
    change = [near.weights(1)[k] - near.weights(0)[k] for k in near.weights(0)]
    assert np.sqrt(sum(float((c**2).sum()) for c in change)) <= 0.01 * (1 + 1e-4)


def test_a_bound_scales_and_leaves_counters_alone():
    before = {"w": np.zeros(4, np.float32), "n": np.array(3)}
    after = {"w": np.full(4, 3, np.float32), "n": np.array(7)}
    found = bounded(after, before, 1.5)
    assert found["w"] == pytest.approx(np.full(4, 0.75))
    assert found["n"] == 7
    assert all(array is after[name] for name, array in bounded(after, before, 6.0).items())


def test_idle_clients_do_not_end_a_run_under_central_dp(runs, monkeypatch):
    """A clip divides by the norm of a change; what a client that sends none adds is nothing."""
    lying(monkeypatch, 0.0)
    run = launch(load_experiment("tiny", [*HONEST, "budget.unit=client"]), runs)
    assert len(run.rounds) == 6
    assert not any(client.failure for client in run.rounds[-1].clients)
