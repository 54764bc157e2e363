"""A model's layers as maps and squares, held against the model itself."""

import numpy as np
import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.layers import Residual, Square
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.encrypted.ckks import choose_plan
from privacy.encrypted.layout import power_of_two
from privacy.encrypted.net import Dense, Net, logits_of, pool_images
from privacy.encrypted.plan import _fit
from privacy.encrypted.recipes import require_depth
from privacy.errors import ModelError
from server.inference.layers import net_of, parts_of
from server.inference.polynomials import FITTED, fit

MEANS = {"pooling": "mean", "activation": "square"}
PLAIN, FIXED = Arithmetic(), Arithmetic(name="fixed", activation_bits=32)
IMAGE, COLOURS = Form((20, 20), 10), Form((3, 8, 8), 10)
TABLE = Form((9,), 2, "table", (1, 2, 6))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def as_net(model, form):
    """The net, and public records for it; weights are such that nothing is hidden by zeros."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    shape = form.shape if len(form.shape) == 2 else (1, int(np.prod(form.shape)))
    x = torch.rand(40, *form.shape)
    net, replaced = net_of(model.eval(), shape, x)
    planes = x.double().numpy().reshape(len(x), *shape)
    return net, replaced, x, planes


@pytest.mark.parametrize(
    ("settings", "form", "arithmetic"),
    [
        ({"name": "convnet", **MEANS}, IMAGE, PLAIN),
        ({"name": "convnet", "norm": "batch", **MEANS}, IMAGE, PLAIN),
        ({"name": "convnet", "adapt": "lora:2", **MEANS}, IMAGE, PLAIN),
        ({"name": "cnn1d", "norm": "none", "width": 4, **MEANS}, Form((3, 16), 4), FIXED),
        (
            {"name": "cnn1d", "norm": "none", "adapt": "bias", **MEANS},
            Form((2, 8), 4),
            Arithmetic(),
        ),
        ({"name": "tabular", "hidden": (5,), "activation": "square"}, TABLE, FIXED),
        ({"name": "strided", "kernel": 3}, COLOURS, PLAIN),
        ({"name": "perceptron", "activation": "square", "pool": 2}, COLOURS, PLAIN),
        ({"name": "perceptron", "activation": "square", "pool": 2}, IMAGE, FIXED),
        ({"name": "linear"}, Form((12,), 3, "table"), PLAIN),
    ],
)
def test_maps_and_squares_are_the_model(settings, form, arithmetic):
    model = build(Model(**settings), form, arithmetic)
    net, replaced, x, planes = as_net(model, form)
    with torch.no_grad():
        expected = model(x).numpy()
    found = logits_of(net, pool_images(planes, net.pool).reshape(len(x), -1))
    assert replaced == []
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_convolution_with_a_border_is_packed_by_the_client():
    """A plan of it gives the model's logits, of few diagonals."""
    model = build(Model(name="convnet", **MEANS), IMAGE)
    net, _, x, planes = as_net(model, IMAGE)
    plan = _fit(net, require_depth(3)[0], 1.0)
    assert len(plan.products[0].diagonals) == 8
    slots = plan.simulate(plan.pack(planes[:3]))[0]
    with torch.no_grad():
        expected = model(x[:3]).numpy()
    found = slots[:, : power_of_two(10)][:, :10]
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("activation", FITTED)
def test_each_unit_has_the_nearest_quadratic(activation):
    """As numpy fits it; where the square is small, as the difference of two."""
    z = np.random.default_rng(0).normal([0, 3, -2, 0.01], [2, 1, 0.1, 1e-3], (500, 4))
    wanted = activation()(torch.from_numpy(z)).numpy()
    squares = fit(activation(), z)
    found = squares(z)
    for unit in range(4):
        nearest = np.polynomial.Polynomial.fit(z[:, unit], wanted[:, unit], 2)(z[:, unit])
        assert np.allclose(found[:, unit], nearest, atol=1e-6)
    assert len(squares.unit) <= 8
    assert np.abs(squares.scale * z[:, squares.unit] + squares.shift).max() <= 5 + 1e-9


def test_quadratics_take_up_no_depth():
    model = build(Model(name="perceptron", activation="relu", hidden=(6,)), IMAGE)
    net, replaced, x, planes = as_net(model, IMAGE)
    assert replaced == ["ReLU"]
    assert len(net.layers) == 2
    with torch.no_grad():
        expected = model(x).numpy()
    found = logits_of(net, planes.reshape(len(x), -1))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(("apart", "degree"), [(0.3, 4096), (1e-4, 8192)])
def test_labels_that_noise_would_change_get_a_larger_ring(apart, degree):
    """Images brighter than one half, and darker ones."""
    mean, both = np.full((2, 64), 1 / 64), np.array([[0.0, 0.0], [0.5, 0.5]])
    net = Net((8, 8), 1, (Dense(mean, np.zeros(2)), Dense(both, np.array([0.25, 0.0]))))
    images = np.full((100, 8, 8), 0.5) + np.where(np.arange(100) % 2, apart, -apart)[:, None, None]
    assert choose_plan(net, images).recipe.degree == degree


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Linear(4, 2), nn.Linear(6, 4)

    def forward(self, x):
        return self.second(torch.square(self.first(x)))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([Hidden()], "layer 1 of 1, Hidden cannot be evaluated under CKKS: .* not looked into"),
        ([nn.Linear(6, 6), nn.LayerNorm(6)], "layer 2 of 2, LayerNorm cannot .* spread"),
        ([Residual(nn.Sequential(nn.ReLU()), nn.Identity())], "Residual, in it ReLU cannot"),
        ([nn.Linear(6, 6), Square()], "ends in a layer that gives a number for each class"),
    ],
)
def test_what_cannot_be_computed_is_named(layers, says):
    with pytest.raises(ModelError, match=says):
        parts_of(nn.Sequential(*layers))


def test_a_map_too_wide_is_refused_before_its_matrix_is_made():
    wide = nn.Sequential(nn.Conv1d(1, 8, 1), Square(), nn.Flatten(), nn.Linear(8 << 12, 2))
    with pytest.raises(ModelError, match=r"map 1 of 2 makes 32,768 numbers of 4,096: at most"):
        net_of(wide, (1, 1 << 12), torch.zeros(1, 1, 1 << 12))
