"""What a server reads from updates, against gradients taken one by one."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from attacks import leakage
from attacks.leakage import auc
from attacks.membership.federated import (
    Candidates,
    Reading,
    difference,
    readable,
    standardise,
    without,
)
from attacks.settings import Attack
from attacks.tape import Sample
from server.adversary.adversaries import HOW_TO_RECORD, on_updates
from server.adversary.replay import replay
from server.engines.launch import launch
from server.experiment.loading import load_experiment


@pytest.fixture
def world():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Flatten(),
        nn.Linear(36, 8),
        nn.ReLU(),
        nn.Linear(8, 5, bias=False),
    )
    x, y = torch.rand(30, 6, 6), torch.arange(30) % 5
    sample = Sample(lambda i: x[i], y, lambda i: x[i])
    gradients = []
    for i in range(30):
        loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    flat = torch.stack([torch.cat([g.flatten() for g in each]) for each in gradients])
    return model, sample, flat


def weights(model):
    return {n: p.detach().numpy().copy() for n, p in model.named_parameters()}


def moved(model, vector):
    """The model's weights after a descent along `vector`."""
    found, at = {}, 0
    for name, p in model.named_parameters():
        found[name] = (p.detach() - vector[at : at + p.numel()].view_as(p)).numpy()
        at += p.numel()
    return found


def test_gradients_are_never_written_out_but_are_the_same(world):
    model, sample, flat = world
    reading = Reading.of(model, Candidates(sample, torch.arange(30)))
    unit = nn.functional.normalize(flat)
    assert torch.allclose(reading.norms, flat.norm(dim=1), atol=1e-6)
    assert torch.allclose(reading.gram, unit @ unit.t(), atol=1e-5)
    vector = torch.randn(flat.shape[1])
    change = difference(weights(model), moved(model, vector))
    expected = unit @ vector / vector.norm()
    assert np.allclose(reading.cosines([change])[0], expected.numpy(), atol=1e-5)


def test_coefficients_tell_who_is_in_a_sum(world):
    """Members of the sum come out above all others, where cosines mix them up."""
    model, sample, flat = world
    reading = Reading.of(model, Candidates(sample, torch.arange(30)))
    member = np.zeros(30, bool)
    member[[1, 4, 9, 16, 25, 27]] = True
    change = difference(weights(model), moved(model, 0.1 * flat[member].sum(0)))
    assert auc(reading.coefficient(change), member) == 1
    assert auc(reading.cosines([change])[0].numpy(), member) < 0.95


def test_standardised_against_the_others():
    rows = np.random.default_rng(0).normal(size=(5, 40))
    found = standardise(rows)
    others = np.delete(rows, 2, axis=0)
    pooled = np.mean([np.delete(rows, c, axis=0).var(0) for c in range(5)])
    expected = (rows[2] - others.mean(0)) / np.sqrt(others.var(0) + pooled)
    assert found[2] == pytest.approx(expected)


def test_a_client_takes_its_own_part_out():
    total, part = {"w": np.array([3.0, 1.0])}, {"w": np.array([2.0, 2.0])}
    assert without(total, part, 0.5)["w"].tolist() == [2, 0]


def test_which_layers_are_read():
    """Dense layers that read a record once and whole: else a gradient is no outer product."""
    picture = torch.zeros(1, 2, 4, 4)
    assert not readable(nn.Sequential(nn.Conv2d(2, 2, 3)), picture)
    over_rows = nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(24, 2))
    assert readable(over_rows, picture) == ["2"]
    again = nn.Linear(32, 32)
    assert readable(nn.Sequential(nn.Flatten(), again, again, nn.Linear(32, 2)), picture) == ["3"]


def test_a_server_that_reads_updates_learns_more(runs):
    """On a run without DP: updates tell far more than the last model, and so does their sum."""
    settings = ["budget.unit=none", "data.held_out=0.4", "data.limit=600", "record.updates=true"]
    tape = replay(launch(load_experiment("tiny", settings), runs))
    found = on_updates(tape, Attack(candidates=600))
    server = found["server"]
    assert server["reported"] == "coefficient_z"
    assert server["coefficient_z"]["auc"]["low"] > 0.7
    assert server["coefficient_z"]["auc"]["low"] > server["cosine"]["auc"]["high"]
    assert found["secure_sum"]["coefficient"]["auc"]["low"] > 0.5
    assert len(server["subjects"]) == 4
    assert found["malicious_client"]["coefficient"]["auc"]["value"] > 0.5


def test_pairs_labelled_at_random_are_not_found(monkeypatch):
    """200 repetitions: the interval for (client, record) pairs holds 0.5 at its nominal rate."""
    monkeypatch.setattr(leakage, "BOOTSTRAPS", 200)
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        records = rng.normal(size=80)  # what a record scores, whoever is asked
        owner = rng.integers(3, size=80)
        member = np.arange(80) < 40
        rows = [
            (records[used] + 0.3 * rng.normal(size=used.sum()), (owner == c)[used] & member[used])
            for c in range(3)
            for used in [~member | (owner == c)]
        ]
        clusters = np.concatenate([np.flatnonzero(~member | (owner == c)) for c in range(3)])
        scores, members = (np.concatenate(part) for part in zip(*rows, strict=True))
        figure = leakage.bootstrap(leakage.area, scores, members, rng, clusters)
        held += figure.low <= 0.5 <= figure.high
    assert binomtest(held, 200, 0.95, alternative="less").pvalue > 1e-3, held


def test_without_records_it_is_said_how_to_record(runs):
    tape = replay(launch(load_experiment("tiny", ["federation.rounds=2"]), runs))
    found = on_updates(tape, Attack(candidates=200))
    assert found["server"] == {"left_out": HOW_TO_RECORD}
    assert "record.updates=true" in HOW_TO_RECORD
    assert "auc" in found["secure_sum"]["coefficient"]
