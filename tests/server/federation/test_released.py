"""Under `unit = "client"` a strategy receives one noisy mean: what it makes of it is its own."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord
from flwr.clientapp import ClientApp
from flwr.serverapp import strategy as flower

from clients.training.arrays import held
from privacy.cipher import Key
from privacy.dp.grid import most_steps
from privacy.dp.ledger import Ledger
from privacy.errors import ModelError
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.experiment.secrecy import require_floats
from server.experiment.strategy import STRATEGIES, Strategy
from server.federation import aggregation
from server.federation.aggregation import Gathered, Released, Update, gather
from server.federation.grid import CohortGrid, identify
from server.federation.strategies import build_strategy, configure

SIGMA, CLIP, PLANNED = 2.0, 0.5, 4
START = {"w": np.full((300, 200), 0.25, np.float32), "b": np.zeros(200, np.float32)}
OPTIONS = {
    "fedavg": [{}],
    "fedavgm": [
        {"server_learning_rate": 10.0},
        {"server_momentum": 0.9, "server_learning_rate": 0.1},
    ],
    "fedprox": [{"proximal_mu": 0.1}],
    "fedadam": [{"eta": 1.0}],
    "fedyogi": [{}],
    "fedadagrad": [{}],
}
LINEAR = [name for name, known in STRATEGIES.items() if known.linear]


def job_of(*assignments):
    chosen = [
        "budget.unit=client", f"budget.noise_multiplier={SIGMA}", f"budget.clip={CLIP}",
        *assignments,
    ]  # fmt: skip
    return load_experiment("tiny", chosen).resolve().job


def update_of(seed, size=3.0):
    rng = np.random.default_rng(seed)
    change = {n: rng.normal(size=w.shape).astype(np.float32) * size for n, w in START.items()}
    moved = {n: w + change[n] for n, w in START.items()}
    return Update(moved, 7 + seed, MetricRecord({"num-examples": 7 + seed}), Ledger(), 0)


def received(monkeypatch, strategy):
    """What Flower's strategy is given, round after round."""
    replies = []
    aggregate = type(strategy).aggregate_train

    def listen(self, number, given):
        given = list(given)
        replies.append([{n: a.numpy() for n, a in r.content["arrays"].items()} for r in given])
        return aggregate(self, number, given)

    monkeypatch.setattr(type(strategy), "aggregate_train", listen)
    return replies


def one_round(strategy, job, updates, number=1, planned=PLANNED):
    identify()
    grid = CohortGrid(ClientApp(), num_clients=planned, workers=1)
    configure(strategy, number, held(START), ConfigRecord(), grid)
    gathered = gather(strategy, START, job, planned)
    for update in updates:
        gathered.add(update)
    return {n: a.numpy() for n, a in gathered.aggregate(number).items()}


def test_every_linear_strategy_is_tried():
    assert set(OPTIONS) == set(LINEAR)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name in LINEAR for options in OPTIONS[name]]
)
def test_the_strategy_receives_a_mean_whose_noise_is_the_calibrated_one(monkeypatch, name, options):
    """Its learning rate and momentum come after: signal and noise are moved alike."""
    strategy = build_strategy(Strategy(name=name, **options), 0.1)
    replies = received(monkeypatch, strategy)
    one_round(strategy, job_of(), [update_of(seed) for seed in range(PLANNED)])
    ((given,),) = replies
    quiet = Released(strategy, START, job_of("budget.noise_multiplier=0"), PLANNED)
    for seed in range(PLANNED):
        quiet.add(update_of(seed))
    clean = quiet._sum.mean(0.0, Key.of(), PLANNED)
    change = aggregation.flatten(given) - aggregation.flatten(START)
    noise = change - clean
    assert noise.std() == pytest.approx(SIGMA * CLIP / PLANNED, rel=0.02)
    assert np.linalg.norm(clean) <= CLIP


def test_momentum_and_rate_are_those_of_the_noisy_mean():
    """With a server learning rate of ten the weights move ten times as far as the noisy mean."""
    updates = [update_of(seed) for seed in range(PLANNED)]
    plain = one_round(build_strategy(Strategy(), 0.1), job_of(), updates)
    tenfold = Strategy(name="fedavgm", server_learning_rate=10.0)
    moved = one_round(build_strategy(tenfold, 0.1), job_of(), updates)
    for name, start in START.items():
        expected = start + 10 * (plain[name] - start)
        np.testing.assert_allclose(moved[name], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [1e-3, 3.0, 1e30])
def test_one_client_more_moves_the_sum_by_at_most_its_clip(size):
    """Whatever it sends, and whatever the others do: in whole numbers."""
    with_it, without = (
        Released(build_strategy(Strategy(), 0.1), START, job_of(), PLANNED) for _ in range(2)
    )
    for seed in range(3):
        with_it.add(update_of(seed))
        without.add(update_of(seed))
    with_it.add(update_of(9, size))
    difference = with_it._sum.total - without._sum.total
    assert sum(int(n) ** 2 for n in difference) <= most_steps(with_it._sum.grid) ** 2


def test_who_is_missing_is_a_zero():
    """The divisor is the number of clients that were planned; a client's count tells nothing."""
    job = job_of("budget.noise_multiplier=1e-3", "budget.epsilon=1e9")
    few = one_round(build_strategy(Strategy(), 0.1), job, [update_of(0)])
    change = aggregation.flatten(few) - aggregation.flatten(START)
    assert np.linalg.norm(change) == pytest.approx(CLIP / PLANNED, rel=0.05)


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in LINEAR])
def test_a_strategy_that_compares_updates_is_given_none(name):
    with pytest.raises(ValueError, match="compares single updates"):
        gather(build_strategy(Strategy(name=name), 0.1), START, job_of(), PLANNED)


def test_noise_is_shared_by_the_same_experiment_alone():
    """Same seed, settings and updates: the same; any other of them, and nothing is in common."""
    updates = [update_of(seed) for seed in range(3)]
    plan = Strategy()

    def change(job=None, number=1, some=None):
        found = one_round(build_strategy(plan, 0.1), job or job_of(), some or updates, number)
        return aggregation.flatten(found) - aggregation.flatten(START)

    first = change()
    assert np.array_equal(first, change())
    nudged = update_of(0).weights
    nudged["b"] = nudged["b"].copy()
    nudged["b"][0] += 1.0
    others = [
        change(job_of("seed=1")),
        change(number=2),
        change(job_of("training.learning_rate=0.123")),
        change(some=[updates[0]._replace(weights=nudged), *updates[1:]]),
        change(job_of("training.noise=secure")),
        change(job_of("training.noise=secure")),
    ]
    for at, other in enumerate(others):
        for one in [first, *others[:at]]:
            # Alike but for their noise, so the difference has that of both.
            assert (one - other).std() > 1.3 * SIGMA * CLIP / PLANNED


def test_the_difference_test_would_see_shared_noise(monkeypatch):
    """The sabotage: a key of seed and round alone."""
    monkeypatch.setattr(Released, "_key", lambda self, number: Key.of("noise", 0, number))
    found = []
    for job in (job_of(), job_of("seed=1")):
        moved = one_round(build_strategy(Strategy(), 0.1), job, [update_of(0)])
        found.append(aggregation.flatten(moved))
    assert (found[0] - found[1]).std() < 0.1 * SIGMA * CLIP / PLANNED


def test_flowers_memory_does_not_outlive_the_weights_that_are_sent():
    """FedAvgM's own weights are float64; a resumed run has none but those that were written."""
    strategy = build_strategy(Strategy(name="fedavgm", server_momentum=0.9), 0.1)
    assert isinstance(strategy, flower.FedAvgM)
    one_round(strategy, job_of(), [update_of(0)])
    grid = CohortGrid(ClientApp(), num_clients=1, workers=1)
    configure(strategy, 2, held(START), ConfigRecord(), grid)
    for name, array in strategy.current_arrays.items():
        assert array.numpy().dtype == np.float32
        assert np.array_equal(array.numpy(), START[name])


def test_without_the_unit_updates_are_gathered_as_they_are():
    job = load_experiment("tiny").resolve().job
    assert isinstance(gather(build_strategy(Strategy(), 0.1), START, job, 4), Gathered)


def test_a_model_that_counts_is_refused():
    experiment = load_experiment("tiny", ["budget.unit=client"])
    require_floats(experiment, {})
    with pytest.raises(ModelError, match=r"seen is int64: .* under \[budget\] unit = 'client'"):
        require_floats(experiment, {"seen": "int64"})


@pytest.mark.parametrize(
    "strategy",
    [
        ("fedavgm", "strategy.server_momentum=0.9", "strategy.server_learning_rate=0.3"),
        ("fedadam", "strategy.eta=0.01"),
    ],
    ids=lambda s: s[0],
)
def test_a_run_taken_up_again_is_the_uninterrupted_one(runs, strategy):
    """Bit for bit, with the server's noise and its optimizer's memory."""
    name, *options = strategy
    chosen = ["budget.unit=client", "budget.epsilon=100", "federation.rounds=4", *options]
    run = launch(load_experiment("tiny", [*chosen, f"strategy.name={name}"]), runs)
    expected = [run.weights(number) for number in (3, 4)]
    path = run.path / "rounds.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    resume(run)
    for number, weights in zip((3, 4), expected, strict=True):
        found = run.weights(number)
        assert all(np.array_equal(found[n], weights[n]) for n in weights)
