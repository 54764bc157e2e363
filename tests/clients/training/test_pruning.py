"""[pruning]: zeros stay zero on every path, cost nothing, and are not sent."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from attacks.settings import Attack
from clients.chip import load_chip
from clients.data.sets import load
from clients.training.job import Job
from clients.training.net import Net, build
from clients.training.pruning import Pruning, is_pruned, zeros_of
from clients.training.records import records
from clients.training.train import Round, train
from privacy.dp.ledger import Ledger
from server.adversary import nodes
from server.adversary.adversaries import attack
from server.adversary.auditing import not_examined
from server.cost import cost_of_run
from server.engines.launch import launch
from server.experiment.loading import load_experiment

SMALL = ["federation.rounds=3", "federation.clients=2", "training.local_steps=2"]
PRUNED = [*SMALL, "pruning.weight=0.9"]


def slowly_pruned(array, share):
    """Weight by weight: the least, the earlier of equals, until enough are zero."""
    flat = array.flatten().tolist()
    for _ in range(int(share * len(flat))):
        left = [(abs(w), i) for i, w in enumerate(flat) if w != 0]
        if sum(w == 0 for w in flat) < int(share * len(flat)) and left:
            flat[min(left)[1]] = 0.0
    return np.array(flat, array.dtype).reshape(array.shape)


def test_the_least_of_each_layer_is_pruned():
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(7, 9)).astype(np.float32), "b": np.ones(5, np.float32)}
    weights["a"][3] = 0
    pruning, before = Pruning(weight=0.8), weights
    found = pruning.prune(weights, 1, 4)
    assert np.array_equal(found["a"], slowly_pruned(weights["a"], 0.8))
    assert found["b"] is weights["b"]
    sent = pruning.squeeze(weights, found)
    assert sent["a"].shape == (63 - 50,)
    assert np.array_equal(pruning.spread(sent, found)["a"], found["a"])
    assert np.array_equal(pruning.hold(before, found)["a"], found["a"])
    shares = [Pruning(weight=0.8, gradual=True).share(i, 8) for i in range(9)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[6:] == [0.8] * 3


def trained(job, pruned, **how):
    """A client's weights before and after a round, from weights of which nine in ten are zero."""
    torch.manual_seed(0)
    module = build(job.model, load(job.data).form, job.arithmetic)
    before = {n: p.numpy().copy() for n, p in module.state_dict().items()}
    before = Pruning(weight=0.9).prune(before, 0, 1)
    module.load_state_dict({n: torch.from_numpy(w) for n, w in before.items()})
    job = job.model_copy(
        update={
            "pruning": Pruning(weight=0.9 * pruned),
            "training": job.training.model_copy(update=how),
        }
    )
    whole, _ = records(job.data, job.model)
    net = Net(module, whole.shape, compiled=job.training.per_sample == "compiled")
    assert (net.program is not None) == (job.training.per_sample == "compiled")
    ledger = Ledger()
    train(net, whole, torch.arange(300), job, Round(1, 0, 0.5, proximal=0.1), ledger)
    return before, {n: p.numpy().copy() for n, p in net.state().items()}, ledger


@pytest.mark.parametrize("unit", ["record", "none"])
@pytest.mark.parametrize("per_sample", ["compiled", "onepass", "hooks"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_pruned_weight_has_neither_update_nor_noise(unit, per_sample, optimizer):
    """All others move, as without pruning where nothing is clipped; and the ledger is the same."""
    if (unit, per_sample) == ("none", "hooks"):
        pytest.skip("no effect")
    job = (
        load_experiment("tiny", [*SMALL, f"budget.unit={unit}"]).for_records(1437, 0).resolve().job
    )
    how = {"per_sample": per_sample, "optimizer": optimizer, "local_steps": 1}
    before, after, ledger = trained(job, True, **how)
    _, dense, as_much = trained(job, False, **how)
    moved = 0
    for name, array in before.items():
        gone = (array == 0) & is_pruned(array)
        assert not after[name][gone].any()
        assert unit == "record" or np.array_equal(after[name][~gone], dense[name][~gone])
        assert (after[name][~gone] != array[~gone]).any()
        moved += int((dense[name][gone] != 0).sum())
    assert moved > 500
    assert ledger.entries == as_much.entries
    _, after, _ = trained(job, True, **how | {"local_steps": 4})
    assert zeros_of(after) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    "more",
    [
        ["compression.bits=8"],
        ["pruning.gradual=true", "arithmetic.name=fixed"],
        ["budget.unit=client", "strategy.name=fedavgm", "strategy.server_momentum=0.9"],
    ],
)
def test_masks_only_grow_and_reach_the_run(runs, more):
    run = launch(load_experiment("tiny", [*PRUNED, *more]), runs, "r")
    masks = [{n: w == 0 for n, w in run.weights(i).items() if is_pruned(w)} for i in range(4)]
    for earlier, later in pairwise(masks):
        assert all((later[n] >= earlier[n]).all() for n in earlier)
    assert (zeros_of(run.weights(0)) > 0.85) == ("pruning.gradual=true" not in more)
    assert [r.zeros for r in run.rounds] == [zeros_of(run.weights(i)) for i in (1, 2, 3)]
    assert run.rounds[-1].zeros == pytest.approx(0.9, abs=0.01)
    kept = run._load("masks.safetensors")
    assert all(np.array_equal(kept[n] == 0, mask) for n, mask in masks[-1].items())
    assert any((run.weights(1)[n] != run.weights(3)[n]).any() for n in kept)


def test_a_pruned_run_is_audited_attacked_and_priced_and_spends_no_more(runs):
    plain = launch(load_experiment("tiny", SMALL), runs, "plain")
    run = launch(load_experiment("tiny", [*PRUNED, "record.updates=true"]), runs, "pruned")
    assert run.ledgers[0].entries == plain.ledgers[0].entries
    sizes = [sum(c.upload_bytes for c in r.rounds[-1].clients) for r in (run, plain)]
    assert sizes[0] < 0.15 * sizes[1]
    checks, _ = nodes.checks(run.experiment, 0)
    assert checks
    assert all(check.passed for check in checks), checks
    assert any("pruning" in why for why in not_examined(run.experiment, run))
    attack(run, Attack(shadows=4, reconstruct=False), lambda text: None)
    assert 0 <= run.leakage["all_rounds"]["auc"]["value"] <= 1
    shares = []
    for chip in ("cambricon-x", "tpu"):
        dense, sparse = (cost_of_run(r, load_chip(chip)) for r in (plain, run))
        shares.append(sparse.inference.latency_s / dense.inference.latency_s)
        assert "of the layers' weights are zero" in json.dumps(sparse.notes)
        assert sparse.step == dense.step
    assert shares[0] < 0.8 * shares[1]  # which has only units less that nobody reads
    assert shares[1] <= 1


@pytest.mark.parametrize("setting", ["arithmetic.name=ternary", "model.adapt=lora:2"])
def test_what_does_not_keep_zeros_is_refused(setting):
    with pytest.raises(Exception, match=r"\[pruning\] weight = 0.9"):
        load_experiment("tiny", [*PRUNED, setting])


def test_a_job_says_what_is_pruned():
    job = load_experiment("tiny", PRUNED).job
    assert Job.from_json(job.model_dump_json()).pruning == Pruning(weight=0.9)
