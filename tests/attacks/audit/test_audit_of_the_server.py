"""The release of the server, under `unit = "client"`: sabotaged, it is caught."""

from dataclasses import replace

import numpy as np
import pytest
from sabotaged import (
    half_the_noise,
    key_of_32_bits,
    no_noise_of,
    noise_of_half_precision,
    steps_uncharged,
    uniform_noise,
)

from attacks.audit.verdict import CHECKS, Evidence
from privacy.cipher import Key
from privacy.dp import grid as grid_room
from privacy.dp.grid import Sum, most_steps
from server.adversary import auditing, servers
from server.adversary.auditing import audit_of, claim_of
from server.experiment.loading import load_experiment
from server.federation.aggregation import Released

STRATEGIES = {
    "fedavg": [],
    "fedavgm": ["strategy.server_learning_rate=2", "strategy.server_momentum=0.9"],
    "fedadam": ["strategy.eta=0.1"],
    "fedyogi": [],
    "fedadagrad": [],
}


def central(strategy="fedavg"):
    base = ["budget.unit=client", "federation.clients=20", f"strategy.name={strategy}"]
    return load_experiment("tiny", base + STRATEGIES[strategy]).resolve()


def alarms(check, strategy="fedavg"):
    """Names of what fails of one kind of check."""
    experiment = central(strategy)
    claim = replace(claim_of(experiment), calls=40)
    if check == "after the release":
        found = [servers.afterwards(experiment, claim.build(0), 0)]
    else:
        found = CHECKS[check](Evidence(claim, 0))
    return {one.name for one in found if not one.passed}


def test_the_servers_noise_is_green(monkeypatch):
    """Batches are everyone, and it is Gaussian noise, before the strategy of the run."""
    monkeypatch.setitem(auditing.CALLS, "client", 40)
    done = audit_of(central("fedavgm"), None)
    assert [check.name for check in done.checks if not check.passed] == []
    assert "after the release" in {check.name for check in done.checks}
    assert max(bound.epsilon for bound in done.bounds) > 0.5 * done.epsilon


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_works_on_the_release_alone(strategy):
    assert alarms("after the release", strategy) == set()
    assert alarms("noise deviation", strategy) == set()


def unnoised(monkeypatch):
    no_noise_of(monkeypatch)


def noise_in_floating_point(monkeypatch):
    mean = Sum.mean

    def noisy(self, sigma, key, num, banded=None):
        z = np.random.default_rng(list(key.value)).normal(size=self.grid.size)
        return mean(self, 0.0, key, num) + z * sigma * self.grid.clip / num

    monkeypatch.setattr(Sum, "mean", noisy)


def noise_of_the_first_round(monkeypatch):
    monkeypatch.setattr(Released, "_key", lambda self, number: Key.of("central noise"))


def noise_of_the_round_alone(monkeypatch):
    """Other updates and settings have it, too."""
    monkeypatch.setattr(Released, "_key", lambda self, number: Key.of(self._job.seed, number))


def updates_unclipped(monkeypatch):
    def whole(vector, grid):
        return np.rint(np.clip(vector / grid.step, -(2**62), 2**62)).astype(np.int64)

    monkeypatch.setattr(grid_room, "whole", whole)


def first_update_unclipped(monkeypatch):
    add = Sum.add

    def first(self, vector):
        if not self.total.any():
            self.total += np.rint(vector / self.grid.step).astype(np.int64)
        else:
            add(self, vector)

    monkeypatch.setattr(Sum, "add", first)


def mean_clipped(monkeypatch):
    """Updates are added up first, and the sum is clipped."""
    mean = Sum.mean

    def clipped(self, sigma, key, num, banded=None):
        norm = np.linalg.norm(self.total.astype(float)) / most_steps(self.grid) / num
        if norm > 1:
            self.total = np.trunc(self.total / norm).astype(np.int64)
        return mean(self, sigma, key, num)

    updates_unclipped(monkeypatch)
    monkeypatch.setattr(Sum, "mean", clipped)


def noise_after_the_optimizer(monkeypatch):
    """As Flower's wrapper adds it: of the mean's deviation, to what the strategy made of it."""
    aggregate = Released.aggregate

    def late(self, number):
        sigma = self._job.budget.noise_multiplier
        self._job = self._job.model_copy(
            update={"budget": self._job.budget.model_copy(update={"noise_multiplier": 0.0})}
        )
        arrays = aggregate(self, number)
        rng = np.random.default_rng(number)
        for name, array in (arrays or {}).items():
            noise = rng.normal(size=array.shape) * sigma * self._job.budget.clip / self._planned
            arrays[name] = type(array)(array.numpy() + noise)
        return arrays

    monkeypatch.setattr(Released, "aggregate", late)


def updates_shown_to_the_strategy(monkeypatch):
    """The noisy mean is one of several replies."""
    aggregate = Released.aggregate

    def twice(self, number):
        work = self._strategy.aggregate_train
        self._strategy.aggregate_train = lambda n, replies: work(n, [*replies, *replies])
        try:
            return aggregate(self, number)
        finally:
            self._strategy.aggregate_train = work

    monkeypatch.setattr(Released, "aggregate", twice)


CENTRAL_SABOTAGES = {
    unnoised: "noise deviation",
    half_the_noise: "noise deviation",
    noise_of_half_precision: "noise law",
    uniform_noise: "noise law",
    noise_in_floating_point: "noise grid",
    noise_of_the_first_round: "noise repetition",
    noise_of_the_round_alone: "noise repetition",
    key_of_32_bits: "key width",
    updates_unclipped: "sensitivity",
    first_update_unclipped: "sensitivity",
    mean_clipped: "sensitivity",
    steps_uncharged: "charging",
    noise_after_the_optimizer: "after the release",
    updates_shown_to_the_strategy: "after the release",
}


@pytest.mark.parametrize("sabotage", CENTRAL_SABOTAGES, ids=lambda s: s.__name__)
def test_sabotage_of_the_server_is_caught(sabotage, monkeypatch):
    check = CENTRAL_SABOTAGES[sabotage]
    sabotage(monkeypatch)
    assert alarms(check) == {check}


def test_noise_that_an_optimizer_outgrows_is_no_noise_of_the_release(monkeypatch):
    """With server momentum and a learning rate: the old wrapper's fault, by its own check."""
    noise_after_the_optimizer(monkeypatch)
    assert alarms("noise deviation", "fedavgm") == {"noise deviation"}
