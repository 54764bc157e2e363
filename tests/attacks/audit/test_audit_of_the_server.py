"""The noise of the server, under `unit = "client"`: sabotaged, it is caught."""

import numpy as np
import pytest
from test_audit import failed, steps_uncharged

from privacy.cipher import Key
from privacy.dp import grid as grid_room
from privacy.dp.grid import Sum, most_steps
from server.adversary import auditing
from server.adversary.auditing import audit_of
from server.experiment.loading import load_experiment
from server.federation.aggregation import Released

CENTRAL = load_experiment("tiny", ["budget.unit=client", "federation.clients=20"]).resolve()

# ---- the server's noise, under unit = "client"


def test_the_servers_noise_is_green():
    """Batches are everyone, the bounds are near the claim, and it is Gaussian noise."""
    done = audit_of(CENTRAL, None)
    assert [check.name for check in done.checks if not check.passed] == []
    assert max(bound.epsilon for bound in done.bounds) > 0.5 * done.epsilon


def unnoised(monkeypatch):
    mean = Sum.mean
    monkeypatch.setattr(Sum, "mean", lambda self, sigma, key, num: mean(self, 0.0, key, num))


def noise_of_twice_the_clients(monkeypatch):
    mean = Sum.mean
    monkeypatch.setattr(Sum, "mean", lambda self, sigma, key, num: mean(self, sigma / 2, key, num))


def noise_of_the_first_round(monkeypatch):
    monkeypatch.setattr(Released, "_key", lambda self, number: Key.of("central noise"))


def updates_unclipped(monkeypatch):
    def whole(vector, grid):
        return np.rint(vector / grid.step).astype(np.int64)

    monkeypatch.setattr(grid_room, "whole", whole)


def mean_clipped(monkeypatch):
    """Updates are added up first, and the sum is clipped."""
    mean = Sum.mean

    def clipped(self, sigma, key, num):
        norm = np.linalg.norm(self.total.astype(float)) / most_steps(self.grid) / num
        if norm > 1:
            self.total = np.trunc(self.total / norm).astype(np.int64)
        return mean(self, sigma, key, num)

    updates_unclipped(monkeypatch)
    monkeypatch.setattr(Sum, "mean", clipped)


CENTRAL_SABOTAGES = {
    unnoised: "noise deviation",
    noise_of_twice_the_clients: "noise deviation",
    noise_of_the_first_round: "noise repetition",
    updates_unclipped: "sensitivity",
    mean_clipped: "sensitivity",
    steps_uncharged: "charging",
}


@pytest.mark.parametrize("sabotage", CENTRAL_SABOTAGES, ids=lambda s: s.__name__)
def test_sabotage_of_the_server_is_caught(sabotage, monkeypatch):
    sabotage(monkeypatch)
    monkeypatch.setattr(auditing, "CLIENTS", 100)
    assert CENTRAL_SABOTAGES[sabotage] in failed(CENTRAL)
