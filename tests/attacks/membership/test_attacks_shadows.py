"""Shadows trained together are the models that the run's own code trains one by one."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from attacks.membership.axes import WIDE, on_axes, principal_axes
from attacks.membership.shadows import Stack, is_dense, split_pool, train_shadows, train_stack
from attacks.tape import Recipe, Sample
from server.adversary.replay import fit_one, recipe, replay
from server.engines.launch import launch
from server.experiment.loading import load_experiment

SHAPES = {"x": (5, 3), "classes": 4}


def models(num=3, biased=True):
    made = []
    for seed in range(num):
        torch.manual_seed(seed)
        layers = nn.Linear(15, 7, bias=biased), nn.Tanh(), nn.Linear(7, 4)
        made.append(nn.Sequential(nn.Flatten(), *layers))
    return made


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_sums_of_clipped_gradients(biased, shared):
    """Against autograd, record by record, model by model."""
    made, clip, batch = models(biased=biased), 0.3, 6
    stack = Stack.of(made)
    torch.manual_seed(9)
    x = torch.randn(batch, 15) if shared else torch.randn(3, batch, 15)
    y = torch.randint(0, 4, (3, batch))
    sums = stack.gradients(x, y, lambda norms: (clip / norms).clamp(max=1.0))
    for k, model in enumerate(made):
        slow = [torch.zeros_like(p) for p in model.parameters()]
        for i in range(batch):
            record = x[i] if shared else x[k, i]
            loss = nn.functional.cross_entropy(model(record[None]), y[k, i : i + 1])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            norm = torch.cat([g.flatten() for g in gradients]).norm()
            for total, g in zip(slow, gradients, strict=True):
                total += g * min(1.0, clip / float(norm))
        for total, found in zip(slow, sums, strict=True):
            assert torch.allclose(found[k], total, atol=1e-5)


def test_what_is_a_stack_and_what_is_not():
    assert is_dense(models()[0])
    assert not is_dense(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 2)))
    assert not is_dense(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2)))

    class Quantized(nn.Linear):
        pass

    assert not is_dense(nn.Sequential(nn.Flatten(), Quantized(4, 2)))


def test_halves_of_every_client():
    owner = np.array([0] * 11 + [1] * 6 + [2])
    member = split_pool(owner, 6, seed=1)
    assert (member.sum(0) == 3).all()
    for k in range(6):
        for client, size in ((0, 11), (1, 6)):
            assert abs(member[k, owner == client].sum() - size / 2) <= 0.5


@pytest.mark.parametrize("thin", [True, False], ids=["shared batches", "own batches"])
def test_the_noise_is_that_of_the_budget(thin):
    """Without a gradient, one step of rate 1 moves each weight by sigma C / (q n)."""
    width = 20 if thin else 60
    model = nn.Sequential(nn.Flatten(), nn.Linear(50, width))
    stack = Stack.of([model, model])
    sample = Sample(lambda i: torch.zeros(len(i), 50), torch.zeros(40, dtype=torch.int64), None)
    parts = [[torch.arange(0, 20), torch.arange(20, 40)]]
    recipe = Recipe([[0]], 1, 0.5, 0.0, [1.0], noise_multiplier=30.0, clip=0.1)
    before = [w.clone() for w in stack.weights]
    list(train_stack(stack, sample, parts, recipe, torch.Generator().manual_seed(0)))
    moved = (stack.weights[0] - before[0]) / (30.0 * 0.1 / 10)
    assert moved.std().item() == pytest.approx(1, rel=0.06)
    assert abs(np.corrcoef(moved.flatten(1).numpy())[0, 1]) < 0.1


@pytest.mark.parametrize(
    "assignments",
    [
        ("budget.unit=none", "training.momentum=0.9"),
        ("budget.noise_multiplier=0.0", "budget.clip=0.2"),
        ("budget.unit=none", "strategy.name=fedavgm", "strategy.server_momentum=0.5"),
        ("budget.unit=none", "training.gradient_norm=0.1", "model.hidden=[40]"),
    ],
    ids=["momentum", "clipped", "fedavgm", "wide, shortened"],
)
def test_together_they_are_what_the_runs_own_code_trains(runs, assignments):
    """On whole batches nothing is left to chance: weights and signals agree."""
    whole = ("training.sample_rate=1.0", "federation.rounds=2", "training.local_steps=3")
    experiment = load_experiment("tiny", [*whole, *assignments])
    if "budget.noise_multiplier=0.0" in assignments:
        budget = experiment.budget.model_copy(update={"epsilon": None})
        experiment = experiment.model_copy(update={"budget": budget})
    tape = replay(launch(experiment, runs))
    together = train_shadows(tape, 2, seed=5)
    slow = dataclasses.replace(tape.recipe, plain=False)
    one_by_one = train_shadows(dataclasses.replace(tape, recipe=slow), 2, seed=5)
    assert (together.member == one_by_one.member).all()
    assert together.phi.shape == (2, 2, len(tape.pool))
    assert np.allclose(together.phi, one_by_one.phi, atol=2e-3)


def test_the_signature_parts_what_differs(runs):
    def signature(*assignments):
        settings = ["federation.rounds=1", *assignments]
        return replay(launch(load_experiment("tiny", settings), runs)).signature

    same = signature()
    assert signature("seed=3") == same
    assert signature("federation.workers=1", "record.updates=true") == same
    assert signature("budget.epsilon=4") != same
    assert signature("model.hidden=[16]") != same
    assert signature("data.limit=1000", "seed=1") != signature("data.limit=1000", "seed=2")


# ---- wide inputs on their principal axes


def test_axes_hold_the_longest_part():
    """Of rows whose length falls from axis to axis: as much of it as the singular vectors do."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 80, generator=generator) * 0.8 ** torch.arange(80)
    x = x @ torch.linalg.qr(torch.randn(80, 80, generator=generator)).Q
    axes = principal_axes(x, 12)
    assert torch.allclose(axes.t() @ axes, torch.eye(12), atol=1e-5)
    best = torch.linalg.svd(x).Vh[:12].t()
    kept, most = (float((x @ basis).square().sum()) for basis in (axes, best))
    assert 0.99 * most < kept <= most * 1.0001


def test_on_axes_they_are_the_same_models(runs):
    """Inputs of 64 numbers spread over 1,100: turned back to 64 and more, nothing is lost."""
    settings = ["federation.rounds=4", "budget.unit=none", "training.learning_rate=0.05"]
    tape = replay(launch(load_experiment("tiny", [*settings, "training.sample_rate=1.0"]), runs))
    spread = torch.randn(64, WIDE + 76, generator=torch.Generator().manual_seed(0)) / 8
    pixels = tape.pool.inputs
    pool = dataclasses.replace(tape.pool, inputs=lambda i: pixels(i).flatten(1) @ spread)

    def build(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(WIDE + 76, 10))

    wide = dataclasses.replace(tape, pool=pool, build=build)
    turned = on_axes(wide)
    assert turned.pool.inputs(torch.arange(3)).shape == (3, 512)
    with_all, with_axes = train_shadows(wide, 2, seed=1), train_shadows(turned, 2, seed=1)
    assert np.allclose(with_all.phi, with_axes.phi, atol=2e-3)
    assert on_axes(tape) is tape


def test_what_is_not_plain_goes_through_the_runs_own_code():
    for assignment in ("training.optimizer=adam", "strategy.name=fedmedian"):
        experiment = load_experiment("tiny", ["budget.unit=none", assignment])
        assert not recipe(experiment).plain
    assert recipe(load_experiment("tiny", ["budget.unit=none"])).plain


def test_a_convnet_goes_through_the_runs_own_code(runs):
    """Given the run's own records, start and seed, that trains the run again; given others, others.

    Under DP, so that batches and noise are the run's too.
    """
    net = ("model.name=strided", "model.kernel=3", "model.stride=2", "model.channels=2")
    settings = [*net, "model.hidden=[8]", "federation.rounds=2", "data.limit=400"]
    run = launch(load_experiment("tiny", settings), runs)
    own = np.flatnonzero((run.manifest.owner >= 0) & ~run.manifest.held_out)
    again = fit_one(str(run.path), own, run.weights(0), run.experiment.seed, [1, 2])
    for number, weights in zip((1, 2), again, strict=True):
        for name, expected in run.weights(number).items():
            assert np.allclose(weights[name], expected, atol=1e-6)
    tape = replay(run)
    shadows = train_shadows(tape, 2, seed=1)
    assert shadows.phi.shape == (2, 2, len(tape.pool))
    assert np.isfinite(shadows.phi).all()
    assert not np.allclose(shadows.phi[0], shadows.phi[1])
