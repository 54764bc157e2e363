"""Many victims are sought in one computation, and of each is found what is found of it alone."""

import math

import pytest
import torch
from torch import nn

from attacks.reconstruction import inversion
from attacks.reconstruction.gradients import Gradients
from attacks.tape import Nature, cross_entropy
from clients.arithmetic import Arithmetic
from clients.models import Model
from clients.protocol import Form
from clients.training.net import FLOAT, build
from privacy.errors import ModelError
from server.adversary.reconstruction.inversions import twice_differentiable

PICTURE, WINDOW = Form((20, 20), 3), Form((2, 24), 3, "window")
NETS = {
    "perceptron": (Model(name="perceptron", hidden=[6]), PICTURE),
    "convnet": (Model(name="convnet", width=4), PICTURE),
    "scatter": (Model(name="scatter"), Form((12, 12), 3)),
    "ds-cnn": (Model(name="ds-cnn", width=4, depth=1), PICTURE),
    "cnn1d": (Model(name="cnn1d", width=4), WINDOW),
    "gru": (Model(name="gru", width=4), WINDOW),
    "attention": (Model(name="attention", width=8, depth=1), WINDOW),
    "tabular": (Model(name="tabular", hidden=[6]), Form((5,), 3, "table", (1,) * 5)),
}
SHAPES = {"scatter": (81, 3, 3)}  # of features, which such a net reads
SEEDS = range(3, 6)


def alone(model, target, y, nature, seed):
    """One victim, start by start, by a gradient of its own: the definition."""
    low, high = nature.low, nature.high
    generator = torch.Generator().manual_seed(seed)
    starts = torch.rand(inversion.RESTARTS, *nature.shape, generator=generator, dtype=target.dtype)
    parameters = [p for p in model.parameters() if p.requires_grad]
    best, best_cost = None, math.inf
    for start in starts:
        x = (low + (high - low) * start[None]).requires_grad_()
        optimizer = torch.optim.Adam([x], lr=inversion.RATE * (high - low))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, inversion.STEPS)
        for _ in range(inversion.STEPS):
            loss = nn.functional.cross_entropy(model(x), y)
            found = torch.autograd.grad(loss, parameters, create_graph=True)
            found = torch.cat([g.flatten() for g in found])
            cost = 1 - torch.cosine_similarity(found, target, 0)
            axes = {"picture": (-2, -1), "window": (-1,)}.get(nature.kind, ())
            for axis in axes:
                cost = cost + inversion.SMOOTHNESS * x.diff(dim=axis).abs().mean()
            optimizer.zero_grad()
            cost.backward(inputs=[x])
            optimizer.step()
            schedule.step()
            x.data.clamp_(low, high)
        if float(cost) < best_cost:
            best, best_cost = x.detach()[0], float(cost)
    return best


def victims(name, arithmetic=FLOAT):
    """A net, its gradients, three victims' records, classes and gradients."""
    settings, form = NETS[name]
    torch.manual_seed(1)
    model = twice_differentiable(build(settings, form, arithmetic)).double()
    nature = Nature("features" if name in SHAPES else form.kind, SHAPES.get(name, form.shape))
    x = torch.rand(len(SEEDS), *nature.shape, dtype=torch.float64)
    y = torch.tensor([0, 2, 1])
    gradients = Gradients(model, cross_entropy, x, y)
    return model, gradients, nature, y, torch.cat([gradients(*one).detach() for one in _each(x, y)])


def _each(x, y):
    return zip(x.split(1), y.split(1), strict=True)


@pytest.mark.parametrize("name", NETS)
def test_of_each_is_found_what_is_found_of_it_alone(name, monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", 4)
    model, gradients, nature, y, target = victims(name)
    assert gradients.together is (name != "attention")  # of which torch maps a wrong derivative
    found = inversion.invert(gradients, target, y, nature, SEEDS)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        apart = [
            alone(model, target[i], y[i : i + 1], nature, seed) for i, seed in enumerate(SEEDS)
        ]
    assert torch.allclose(found, torch.stack(apart), atol=1e-6)
    assert (found[0] - found[1]).abs().max() > 0.1  # each has a place of its own


def test_more_than_memory_holds_are_sought_in_turns(monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", 4)
    _, gradients, nature, y, target = victims("tabular")
    whole = inversion.invert(gradients, target, y, nature, SEEDS)
    assert inversion.fits_together(gradients, len(SEEDS))
    monkeypatch.setattr(inversion, "MOST_NUMBERS", 2 * inversion.RESTARTS * gradients.size)
    assert not inversion.fits_together(gradients, len(SEEDS))
    assert torch.allclose(inversion.invert(gradients, target, y, nature, SEEDS), whole)


def test_a_gradient_without_a_derivative_is_refused():
    """Rounded ones, as a device computes them; `twice_differentiable` takes the rounding off."""
    model = build(*NETS["tabular"], Arithmetic(name="ternary")).double()
    x, y = torch.rand(2, 5, dtype=torch.float64), torch.tensor([0, 1])
    with pytest.raises(ModelError, match="has no derivative"):
        Gradients(model, cross_entropy, x, y)


def test_what_cannot_be_mapped_over_records_is_asked_one_by_one(monkeypatch):
    """Words have a backward pass of their own: the same search, and no more is claimed of it."""
    monkeypatch.setattr(inversion, "STEPS", 4)
    model, gradients, nature, y, target = victims("tabular", Arithmetic(name="ternary"))
    assert not gradients.together
    assert not inversion.fits_together(gradients, 1)
    found = inversion.invert(gradients, target, y, nature, SEEDS)
    apart = [alone(model, target[i], y[i : i + 1], nature, seed) for i, seed in enumerate(SEEDS)]
    assert torch.allclose(found, torch.stack(apart), atol=1e-6)
