"""The noise of the server, under `unit = "client"`: sabotaged, it is caught."""

import pytest
from test_audit import failed, steps_uncharged

from server.adversary import auditing
from server.adversary.auditing import audit_of
from server.experiment.loading import load_experiment
from server.federation import aggregation

CENTRAL = load_experiment("tiny", ["budget.unit=client", "federation.clients=20"]).resolve()


AGGREGATION = "flwr.serverapp.strategy.dp_fixed_clipping"


# ---- the server's noise, under unit = "client"


def test_the_servers_noise_is_green():
    """Batches are everyone, the bounds are near the claim, and it is Gaussian noise."""
    done = audit_of(CENTRAL, None)
    assert [check.name for check in done.checks if not check.passed] == []
    assert max(bound.epsilon for bound in done.bounds) > 0.5 * done.epsilon


def unnoised(monkeypatch):
    monkeypatch.setattr(f"{AGGREGATION}.add_gaussian_noise_inplace", lambda arrays, std: None)


def noise_of_twice_the_clients(monkeypatch):
    from flwr.serverapp.strategy import dp_fixed_clipping

    right = dp_fixed_clipping.compute_stdv
    monkeypatch.setattr(f"{AGGREGATION}.compute_stdv", lambda z, c, num: right(z, c, 2 * num))


def noise_of_the_first_round(monkeypatch):
    derive = aggregation.derive
    monkeypatch.setattr(aggregation, "derive", lambda seed, purpose, _: derive(seed, purpose, 1))


def updates_unclipped(monkeypatch):
    monkeypatch.setattr(f"{AGGREGATION}.compute_clip_model_update", lambda **_: None)


def mean_clipped(monkeypatch):
    """Updates are averaged first, and the mean is clipped."""
    monkeypatch.setattr(aggregation, "is_linear", lambda strategy: True)


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
