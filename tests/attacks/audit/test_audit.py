"""The audit turns red for each way of breaking DP-SGD, and stays green for the step as shipped.

The sabotages are small patches of the shipped training step: `OnePassOptimizer`, `Private` and the
seeds that `clients.training.train` gives them.
"""

import json

import numpy as np
import pytest
import torch
from sabotaged import no_noise

from attacks.audit import claim as claim_room
from attacks.audit import verdict as room
from clients.training import train as loop
from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.compiled import Program
from privacy.dp.ledger import Ledger
from privacy.dp.training import Private
from privacy.errors import RunError, SettingsError
from server.adversary.auditing import audit_of, subject
from server.engines.launch import launch
from server.experiment.loading import load_experiment

TINY = load_experiment("tiny").resolve()


def failed(experiment=TINY, run=None, seed=0):
    return {check.name for check in audit_of(experiment, run, seed).checks if not check.passed}


# ---- the untouched step


@pytest.mark.parametrize(
    "assignments",
    [
        (),
        ("training.per_sample=onepass",),
        ("training.per_sample=hooks", "training.momentum=0.9"),
        ("data.name=mnist", "data.limit=500", "model.name=convnet", "budget.clip=0.3"),
    ],
    ids=["perceptron", "onepass", "hooks", "convnet"],
)
def test_the_shipped_step_is_green(assignments, monkeypatch):
    if "model.name=convnet" in assignments:
        big = np.random.default_rng(0).integers(0, 255, (600, 28, 28), dtype=np.uint8)
        stand_in(monkeypatch, big)
    assert failed(load_experiment("tiny", list(assignments)).resolve()) == set()


def stand_in(monkeypatch, images):
    """Random images in place of MNIST, which a test machine need not have."""
    from clients.data import sets as data

    labels = (np.arange(len(images)) % 10).astype(np.uint8)
    arrays = {"train_x": images, "train_y": labels, "test_x": images[:50], "test_y": labels[:50]}
    monkeypatch.setitem(data.CONTENT_SHA256, "mnist", data.digest(arrays))
    monkeypatch.setattr(data, "_read_cache", lambda name: arrays)
    data._load.cache_clear()


# ---- sabotage


def half_the_noise(monkeypatch):
    add_noise = OnePassOptimizer.add_noise

    def halved(self):
        self.noise_multiplier /= 2
        add_noise(self)
        self.noise_multiplier *= 2

    monkeypatch.setattr(OnePassOptimizer, "add_noise", halved)


def same_noise_each_round(monkeypatch):
    """The seed knows the client, but not the round."""
    generator = loop.generator

    def forgetful(seed, purpose, number, client):
        return generator(seed, purpose, 0 if purpose == "noise" else number, client)

    monkeypatch.setattr(loop, "generator", forgetful)


def same_noise_each_step(monkeypatch):
    add_noise = OnePassOptimizer.add_noise

    def again(self):
        self._noise._counter = 0
        add_noise(self)

    monkeypatch.setattr(OnePassOptimizer, "add_noise", again)


def same_noise_on_each_client(monkeypatch):
    generator = loop.generator

    def forgetful(seed, purpose, number, client):
        return generator(seed, purpose, number, 0 if purpose == "noise" else client)

    monkeypatch.setattr(loop, "generator", forgetful)


def _unclipped(monkeypatch, then):
    """Sum a piece without clipping; `then` may do something to the sums."""
    for name in ("accumulate", "accumulate_compiled"):
        monkeypatch.setattr(
            OnePassOptimizer, name, _without_clip(getattr(OnePassOptimizer, name), then)
        )


def _without_clip(accumulate, then):
    def summed(self, *batch):
        clip, self.max_grad_norm = self.max_grad_norm, 1e30
        try:
            accumulate(self, *batch)
        finally:
            self.max_grad_norm = clip
        then(self, self._sums, len(batch[-1]) if len(batch) == 2 else (batch or (1,))[0])

    return summed


def _shrink(sums, largest):
    norm = torch.stack([s.norm() for s in sums]).norm() if sums else torch.tensor(0.0)
    for s in sums:
        s.mul_((largest / (norm + 1e-6)).clamp(max=1.0))


def clip_per_batch(monkeypatch):
    """The batch's gradient is clipped, as if it were that of one record."""
    _unclipped(monkeypatch, lambda self, sums, _: _shrink(sums, self.max_grad_norm))


def clip_after_averaging(monkeypatch):
    """The mean gradient is clipped, and the sum made of it again."""
    _unclipped(
        monkeypatch,
        lambda self, sums, num_records: _shrink(sums, self.max_grad_norm * (num_records or 1)),
    )


def one_layer_unclipped(monkeypatch):
    accumulate, add_clipped_sum = OnePassOptimizer.accumulate, Program.add_clipped_sum

    def partly(self, num_records=None):
        last = [r for r in self._records if r.layer is self._layers[-1]]
        accumulate(self, num_records)
        for record in last:
            own = self._sums[-len(list(record.layer.parameters())) :]
            for total, raw in zip(own, [record.g.t() @ record.x, record.g.sum(0)], strict=False):
                total.copy_(raw)

    def partly_compiled(self, x, y, clip, total):
        raw = torch.zeros_like(total)
        add_clipped_sum(self, x, y, 1e30, raw)
        add_clipped_sum(self, x, y, clip, total)
        last = self.parameters[-2:] if self.parameters[-1].dim() == 1 else self.parameters[-1:]
        size = sum(p.numel() for p in last)
        total[-size:] = raw[-size:]

    monkeypatch.setattr(OnePassOptimizer, "accumulate", partly)
    monkeypatch.setattr(Program, "add_clipped_sum", partly_compiled)


def sigma_lowered_after_accounting(monkeypatch):
    batches = Private.batches

    def lowered(self, steps):
        charged = self._optimizer.noise_multiplier
        for batch in batches(self, steps):
            self._optimizer.noise_multiplier = 0.8 * charged
            yield batch
            self._optimizer.noise_multiplier = charged

    monkeypatch.setattr(Private, "batches", lowered)


def batch_taken_twice(monkeypatch):
    classify = Private.classify

    def twice(self, fetch, indices):
        classify(self, fetch, indices)
        self._batch = indices
        classify(self, fetch, indices)

    monkeypatch.setattr(Private, "classify", twice)


def batches_shuffled(monkeypatch):
    """Fixed-size batches where Poisson samples are charged."""
    batches = Private.batches

    def fixed(self, steps):
        for _ in batches(self, steps):
            size = round(self._sample_rate * self._num_records)
            self._batch = torch.randperm(self._num_records, generator=self._sampling)[:size]
            yield self._batch

    monkeypatch.setattr(Private, "batches", fixed)


def steps_uncharged(monkeypatch):
    monkeypatch.setattr(Ledger, "charge", lambda self, *_: None)


SABOTAGES = {
    no_noise: "noise deviation",
    half_the_noise: "noise deviation",
    same_noise_each_round: "noise repetition",
    same_noise_each_step: "noise deviation",
    same_noise_on_each_client: "noise repetition",
    clip_per_batch: "sensitivity",
    clip_after_averaging: "sensitivity",
    one_layer_unclipped: "sensitivity",
    sigma_lowered_after_accounting: "noise deviation",
    batch_taken_twice: "sensitivity",
    batches_shuffled: "sampling",
    steps_uncharged: "charging",
}


@pytest.mark.parametrize("per_sample", ["compiled", "onepass"])
@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: s.__name__)
def test_sabotage_is_caught(sabotage, per_sample, monkeypatch):
    """By the check that is made for it, whatever else it trips."""
    sabotage(monkeypatch)
    experiment = load_experiment("tiny", [f"training.per_sample={per_sample}"]).resolve()
    assert SABOTAGES[sabotage] in failed(experiment)


# ---- what a run adds


def test_a_run_is_held_to_its_ledgers(runs):
    run = launch(load_experiment("tiny", ["federation.rounds=2"]), runs, "mine")
    done = audit_of(run.experiment, run)
    assert done.passed
    assert {"ledgers", "accounting"} <= {check.name for check in done.checks}
    lines = (run.path / "rounds.jsonl").read_text()
    ledger = run.rounds[-1].clients[0].ledger
    short = json.loads(ledger)
    short[0][2] //= 2  # begun anew in the second round
    (run.path / "rounds.jsonl").write_text(
        lines.replace(json.dumps(ledger), json.dumps(json.dumps(short)))
    )
    assert failed(run.experiment, run) == {"ledgers"}
    (run.path / "rounds.jsonl").write_text(
        lines.replace(f'"epsilon": {run.rounds[-1].epsilon}', '"epsilon": 1.0')
    )
    assert failed(run.experiment, run) == {"accounting"}


def test_what_cannot_be_audited_is_said(runs):
    with pytest.raises(RunError, match="nor an experiment"):
        subject("nothing", runs)
    with pytest.raises(SettingsError, match="there is no noise to audit"):
        audit_of(load_experiment("tiny", ["budget.unit=none"]).resolve(), None)
    shared = ["budget.unit=client", "federation.secure_aggregation=masks"]
    with pytest.raises(SettingsError, match="the noise is shared by the devices"):
        audit_of(load_experiment("tiny", shared).resolve(), None)
    assert subject("tiny", runs)[1] is None


def test_the_auditors_model_is_left_alone():
    """Or twins would not start from the same weights."""
    claimed = _claim()
    model = claimed.build(0)
    before = claim_room.weights_of(model)
    room.charging(claimed, 0)
    assert all(torch.equal(before[n], w) for n, w in claim_room.weights_of(model).items())


def _claim():
    from server.adversary.auditing import device
    from server.adversary.replay import builder

    x, y = torch.rand(30, 8, 8), torch.arange(30) % 10
    return claim_room.Claim(device(TINY.job), builder(TINY), x, y, 1.0, 1.0, 0.2, 4, 1e-5)
