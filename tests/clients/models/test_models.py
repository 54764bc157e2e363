"""Models are what they say, and their inputs are computed once and cached."""

import numpy as np
import pytest
import torch

from clients.data.sets import load
from clients.data.settings import Data
from clients.models import Model, front_of
from clients.protocol import Form
from clients.training import records as room
from clients.training.net import build
from clients.training.records import records
from privacy.dp.training import require_private
from privacy.errors import ModelError


def test_convnet_is_the_net_of_the_opacus_example():
    """26,010 parameters, and the same function as the example's forward pass."""
    net = build(Model(name="convnet"), Form((28, 28), 10))
    assert sum(p.numel() for p in net.parameters()) == 26_010
    w = list(net.parameters())
    x = torch.rand(3, 28, 28)
    F = torch.nn.functional
    h = F.max_pool2d(F.relu(F.conv2d(x[:, None], w[0], w[1], 2, 3)), 2, 1)
    h = F.max_pool2d(F.relu(F.conv2d(h, w[2], w[3], 2)), 2, 1)
    h = F.linear(F.relu(F.linear(h.view(-1, 32 * 4 * 4), w[4], w[5])), w[6], w[7])
    assert torch.allclose(net(x), h, atol=1e-6)


@pytest.mark.parametrize("name", ["perceptron", "convnet", "scatter", "strided", "linear"])
def test_every_model_can_be_trained_privately(name):
    net = build(Model(name=name), Form((28, 28), 7))
    require_private(net)
    x = torch.rand(2, 28, 28)
    if (front := front_of(Model(name=name), Form((28, 28), 7))) is not None:
        x = front(x).float()
    assert net(x).shape == (2, 7)


def test_a_batch_norm_is_refused_with_the_remedy():
    with pytest.raises(ModelError, match=r"not DP-safe: BatchNorm .*norm = 'group'"):
        require_private(build(Model(name="convnet", norm="batch"), Form((28, 28), 10)))
    require_private(build(Model(name="convnet", norm="group"), Form((28, 28), 10)))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("convnet", (8, 8)), ("convnet", (9, 7)), ("convnet", (4, 4)), ("scatter", (10, 10))],
)
def test_images_that_do_not_fit_are_refused(name, shape):
    with pytest.raises(ModelError, match="perceptron") as refused:
        build(Model(name=name), Form(shape, 10))
    assert ("or scatter" in str(refused.value)) == (shape == (8, 8))


def test_features_are_cached_and_a_spoilt_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path))
    room._records.cache_clear()
    first, test = records(Data(), Model(name="scatter"))
    (file,) = tmp_path.glob("scatter-*.npy")
    assert len(first) + len(test) == 1797
    dataset = load(Data())
    front = front_of(Model(name="scatter"), dataset.form)
    expected = front(torch.from_numpy(dataset.train_x[:5]) / 16)
    assert torch.equal(first.inputs(torch.arange(5)), expected.float())
    spoilt = tmp_path / "spoilt"  # beside it, since what is mapped must not shrink
    spoilt.write_bytes(file.read_bytes()[:1000])
    spoilt.replace(file)
    room._records.cache_clear()
    again, _ = records(Data(), Model(name="scatter"))
    assert torch.equal(again.x, first.x)
    assert np.load(file).shape == (1797, 81 * 4)
    room._records.cache_clear()


def test_pixels_are_scaled_to_one():
    training, _ = records(Data(), Model())
    inputs = training.inputs(torch.arange(100))
    assert inputs.dtype == torch.float32
    assert inputs.max() == 1
    assert inputs.min() == 0
