"""attacks.audit.lessons: what is quiet teaches nothing, and what is hostile hardly anything."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from attacks.audit import lessons
from clients.training.losses import LOSSES
from clients.training.records import Records
from privacy.dp.grid import Grid

OUTPUTS = {"classes": 3, "labels": 3, "number": 1, "itself": 4}
X = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))


def claim_of(task):
    widths = {"labels": 3, "number": 1, "itself": 0}
    y = torch.arange(5) % 3 if task == "classes" else torch.rand(5, widths[task])
    return SimpleNamespace(task=task, x=X, y=y)


def gradients(task, model, x, y):
    """Of each record, one row each."""
    mine = Records(x, y)
    losses = LOSSES[task](model(x), mine.targets(torch.arange(len(x)), x))
    rows = [torch.autograd.grad(one, list(model.parameters()), retain_graph=True) for one in losses]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("task", OUTPUTS)
def test_quiet_records_teach_nothing_even_after_noise(task, bias):
    """Whatever a model is told by is less than half a step of the grid."""
    claim = claim_of(task)
    model = lessons.silenced(nn.Linear(4, OUTPUTS[task], bias=bias), task)
    x, y = lessons.quiet_records(claim, model, X)
    assert len(torch.unique(x, dim=0)) == len(X)  # other records are still others
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 1e-2 * lessons.reach(model, task))
    size = sum(p.numel() for p in model.parameters())
    assert gradients(task, model, x, y).abs().max() < Grid.of(1.0, size).step / 2


@pytest.mark.parametrize("certainty", [20.0, 50.0])
@pytest.mark.parametrize("task", OUTPUTS)
def test_hostile_weights_leave_a_gradient_that_small(task, certainty):
    """So that a norm in few bits loses it, before activations make it large again."""
    claim = claim_of(task)
    model = nn.Linear(4, OUTPUTS[task])
    x = lessons.alike(claim, X[:2])
    with torch.no_grad():
        model.weight.zero_()
        lessons.BIASES[task](model.bias, certainty, x)
    norms = gradients(task, model, x, lessons.quiet_targets(claim, 2)).norm(dim=1)
    assert 0 < float(norms.max()) < 10 * math.exp(-certainty)


@pytest.mark.parametrize("task", OUTPUTS)
def test_loud_records_point_where_canaries_are_looked_for(task):
    """The first output is to be more, all others less."""
    model = nn.Linear(4, 3, bias=False)
    nn.init.zeros_(model.weight)
    y = lessons.loud_targets(claim_of(task), 5, 3)
    rows = gradients(task, model, X, y).view(5, 3, 4)
    assert (rows[:, 0] < 0).all()
    assert (rows[:, 1:] > 0).all()
