"""Steps on a GPU: held against the compiled step, on a device that a test makes up.

What needs a GPU itself is at the end, and is skipped, with the reason, where there is none.
"""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from elsewhere import FAR, Far, pretend
from torch import nn

from clients.models import Model
from clients.protocol import Form
from clients.training import gpu
from clients.training.job import Job, Training
from clients.training.net import build, fill
from clients.training.pruning import Pruning
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp import passes
from privacy.dp.budget import Budget
from privacy.dp.grid import Grid
from privacy.dp.ledger import Ledger
from privacy.dp.noise import Noise
from privacy.dp.optimizer import GridOptimizer
from privacy.dp.rules import share
from privacy.errors import ModelError

SIDE, NUM = 20, 60
NEAR = 1e-4  # of an update: float32, summed in another order
SUMS = 2.0**-6  # of the clip, which the compiled step leaves for its own sums in float32
PICTURE, WINDOW = Form((SIDE, SIDE), 4), Form((3, 16), 4, "window", (), 50.0)
MODELS = {
    "perceptron": (Model(hidden=(12,)), PICTURE),
    "convnet": (Model(name="convnet", width=4), PICTURE),
    "strided": (Model(name="strided", channels=3, kernel=4, stride=2, hidden=(6,)), PICTURE),
    "resnet8": (Model(name="resnet8", width=4), PICTURE),
    "ds-cnn": (Model(name="ds-cnn", width=4), PICTURE),
    "cnn1d": (Model(name="cnn1d", width=4, kernel=3), WINDOW),
    "gru": (Model(name="gru", width=4), WINDOW),
    "lstm": (Model(name="lstm", width=4), WINDOW),
    "attention": (Model(name="attention", width=4), WINDOW),
    "tabular": (Model(name="tabular", hidden=(6,)), Form((7,), 4, "table", (1, 6))),
    "head": (Model(hidden=(12,), adapt="head"), PICTURE),
    "bias": (Model(hidden=(12,), adapt="bias"), PICTURE),
    "lora": (Model(hidden=(12,), adapt="lora:2"), PICTURE),
}


def job_of(model=MODELS["perceptron"][0], *, unit="record", sigma=0.0, clip=0.3, **training):
    return Job(
        model=model,
        training=Training(**{"local_steps": 2, "sample_rate": 0.5, "noise": "seeded", **training}),
        budget=Budget(unit=unit, epsilon=None, noise_multiplier=sigma, clip=clip)
        if unit != "none"
        else Budget(unit=unit),
    )


def trained(job, form, *, proximal=0.0, pruned=False):
    """The weights after a round of a job, from one and the same start, on drawn records."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.rand(NUM, *form.shape, generator=g), torch.randint(4, (NUM,), generator=g)
    if form.kind == "table":
        x[:, 1:] = (x[:, 1:] > 0.5).float()
    records = Records(x, y)
    torch.manual_seed(0)
    model = build(job.model, form)
    if pruned:
        job = job.model_copy(update={"pruning": Pruning(weight=0.5)})
        weights = {name: w.numpy() for name, w in model.state_dict().items()}
        fill(model, job.pruning.prune(weights, 1, 1))
    net = net_of(model, records, job, form)
    train(net, records, torch.arange(NUM), job, Round(1, 0, 0.5, proximal), Ledger())
    state = net.state()
    assert all(w.device.type == "cpu" and not isinstance(w, Far) for w in state.values())
    return torch.cat([w.detach().flatten() for w in state.values()]).double()


def on_gpu(job):
    return job.model_copy(update={"training": job.training.model_copy(update={"device": "cuda"})})


@pytest.mark.parametrize("name", MODELS)
def test_clipped_sums_are_those_of_the_processor(name, elsewhere):
    """Of steps without noise: by the kernels that ship, and by torch."""
    model, form = MODELS[name]
    before = trained(job_of(model, learning_rate=1e-9), form)
    for clip, way, far in (
        (0.05, "compiled", SUMS),
        (0.05, "onepass", NEAR),
        (50, "compiled", NEAR),
    ):
        job = job_of(model, clip=clip, per_sample=way, local_steps=1)
        here, there = trained(job, form), trained(on_gpu(job), form)
        assert (here - before).norm() > 1e-3
        assert (here - there).norm() < far * (here - before).norm()


CASES = {
    "momentum": ({"momentum": 0.9}, {}),
    "adam": ({"optimizer": "adam", "learning_rate": 0.01}, {}),
    "proximal": ({}, {"proximal": 0.1}),
    "distortion": ({"distortion": 0.5}, {}),
    "no promise": ({"unit": "none", "gradient_norm": 0.1}, {}),
    "client": ({"unit": "client"}, {}),
    "pruned": ({}, {"pruned": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_around_the_step_is_the_same(case, elsewhere):
    settings, around = CASES[case]
    job = job_of(per_sample="onepass", **settings)
    here, there = trained(job, PICTURE, **around), trained(on_gpu(job), PICTURE, **around)
    assert (here - there).abs().max() < NEAR


def releases(job, monkeypatch):
    """Of each step the noise, the sum in whole steps, and how far both are from the release."""
    seen = []
    noisy, integers = Grid.noisy, Noise.integers

    def see(self, deviation, size):
        seen.append([integers(self, deviation, size)])
        return seen[-1][0]

    def look(self, total, noise_multiplier, noise, out):
        noisy(self, total, noise_multiplier, noise, out)
        steps = np.rint(total / self.step)
        released = out.astype(np.float64) / self.step
        seen[-1] += [steps, np.abs(released - steps - seen[-1][0]).max() / np.abs(released).max()]

    monkeypatch.setattr(Noise, "integers", see)
    monkeypatch.setattr(Grid, "noisy", look)
    trained(job, PICTURE)
    monkeypatch.undo()
    return seen


def test_noise_is_that_of_the_processor_to_the_last_bit(elsewhere, monkeypatch):
    """Of one key, step by step, in whole numbers; and the GPU gets the sum with it."""
    job = job_of(sigma=1.5, per_sample="onepass")
    here = releases(job, monkeypatch)
    pretend(monkeypatch, FAR)
    there = releases(on_gpu(job), monkeypatch)
    assert len(here) == len(there) == job.training.local_steps
    for (noise, steps, _), (other, far_steps, left) in zip(here, there, strict=True):
        assert np.array_equal(noise, other)
        assert noise.std() > 100
        assert left < 1e-6  # float32
        assert np.linalg.norm(steps - far_steps) < NEAR * np.linalg.norm(steps)
    assert not np.array_equal(here[0][0], here[1][0])


def test_each_pass_has_as_many_rows_whoever_is_in_the_batch(elsewhere, monkeypatch):
    """By public numbers: no kernel is chosen by how many records there are."""
    seen = []
    forward = nn.Linear.forward
    monkeypatch.setattr(
        nn.Linear, "forward", lambda self, x: seen.append((type(x), len(x))) or forward(self, x)
    )
    job = job_of(sample_rate=0.3, local_steps=30, learning_rate=1e-3)
    trained(on_gpu(job), PICTURE)
    rows = {num for kind, num in seen if kind is Far}
    assert rows == {2, passes.rows_of(0.3 * NUM, gpu.MOST_AT_ONCE)}  # two are looked at alone
    assert passes.rows_of(0.3 * NUM, gpu.MOST_AT_ONCE) == 40
    monkeypatch.setattr(gpu, "MOST_AT_ONCE", 16)
    seen.clear()
    there = trained(on_gpu(job), PICTURE)
    assert {num for kind, num in seen if kind is Far} == {2, 16}
    here = trained(
        job_of(sample_rate=0.3, local_steps=30, learning_rate=1e-3, per_sample="onepass"), PICTURE
    )
    assert (here - there).norm() < NEAR


def test_a_pruned_weight_stays_zero(elsewhere):
    job = job_of(sigma=1.0)
    assert (trained(on_gpu(job), PICTURE, pruned=True) == 0).double().mean() > 0.3


def test_a_step_settles_that_first(elsewhere, monkeypatch):
    settled = []
    monkeypatch.setattr(gpu, "settle", lambda: settled.append(True))
    trained(job_of(), PICTURE)
    assert not settled
    trained(on_gpu(job_of()), PICTURE)
    assert settled


# ---- the device that a test makes up notices what a GPU would


def test_a_sum_that_is_made_on_the_wrong_side_is_noticed(elsewhere, monkeypatch):
    def here(c_B, rows):
        return torch.zeros(rows.shape[1], dtype=torch.float64).addmv_(rows.double().t(), c_B)

    monkeypatch.setattr(share, "_weighted", here)
    with pytest.raises(RuntimeError, match="on one device"):
        trained(on_gpu(job_of(MODELS["convnet"][0])), PICTURE)


def test_a_sum_that_is_not_brought_back_is_noticed(elsewhere, monkeypatch):
    def add_noise(self):
        self._total.numpy()

    monkeypatch.setattr(GridOptimizer, "add_noise", add_noise)
    with pytest.raises(RuntimeError, match="numpy"):
        trained(on_gpu(job_of()), PICTURE)


def test_inputs_that_stay_behind_are_noticed(elsewhere, monkeypatch):
    @contextmanager
    def halfway(_, module):
        module.to(FAR)
        yield torch.device("cpu")

    monkeypatch.setattr(gpu, "on", halfway)
    with pytest.raises(RuntimeError, match="on one device"):
        trained(on_gpu(job_of()), PICTURE)


# ---- on a GPU itself

NO_GPU = gpu.lacking()
on_a_gpu_itself = pytest.mark.skipif(bool(NO_GPU), reason=f"needs a GPU: {NO_GPU}")


@on_a_gpu_itself
@pytest.mark.usefixtures("settings_back")
@pytest.mark.parametrize("name", MODELS)
def test_clipped_sums_of_a_gpu(name):
    """As of the processor; and again, to the last bit."""
    model, form = MODELS[name]
    before = trained(job_of(model, learning_rate=1e-9), form)
    job = job_of(model, clip=0.05, per_sample="onepass", local_steps=1)
    here, there = trained(job, form), trained(on_gpu(job), form)
    assert (here - there).norm() < 10 * NEAR * (here - before).norm()
    assert torch.equal(there, trained(on_gpu(job), form))


@on_a_gpu_itself
@pytest.mark.usefixtures("settings_back")
@pytest.mark.parametrize("case", CASES)
def test_what_is_around_the_step_of_a_gpu(case):
    settings, around = CASES[case]
    job = job_of(per_sample="onepass", **settings)
    here, there = trained(job, PICTURE, **around), trained(on_gpu(job), PICTURE, **around)
    assert (here - there).abs().max() < 10 * NEAR


@on_a_gpu_itself
@pytest.mark.usefixtures("settings_back")
def test_noise_of_a_gpu_is_that_of_the_processor_to_the_last_bit(monkeypatch):
    job = job_of(sigma=1.5, per_sample="onepass")
    here, there = releases(job, monkeypatch), releases(on_gpu(job), monkeypatch)
    for (noise, steps, _), (other, gpu_steps, left) in zip(here, there, strict=True):
        assert np.array_equal(noise, other)
        assert left < 1e-6
        assert np.linalg.norm(steps - gpu_steps) < 10 * NEAR * np.linalg.norm(steps)


@on_a_gpu_itself
@pytest.mark.usefixtures("settings_back")
def test_a_layer_that_sums_in_any_order_is_refused_on_a_gpu():
    module = nn.Sequential(nn.Linear(49, 49), nn.Unflatten(1, (1, 7, 7)), nn.AdaptiveAvgPool2d(3))

    def step():
        with gpu.on("cuda", module) as there:
            module(torch.rand(8, 49).to(there)).sum().backward()

    with pytest.raises(ModelError, match="sums in another order each time"):
        step()
    assert module[0].weight.device.type == "cpu"
