"""Ready nets: their published sizes, the forms that they take, and one line for all others."""

import itertools
import math
import re

import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic
from clients.layers import Residual
from clients.models import MODELS, Model, form_behind, front_of
from clients.models.nets.tabular import Columns
from clients.protocol import Form
from clients.training.net import build
from privacy.errors import ModelError

FORMS = {
    "grey": Form((28, 28), 7),
    "digits": Form((8, 8), 7),
    "colour": Form((3, 32, 32), 7),
    "window": Form((6, 128), 7, "window", rate_hz=50.0),
    "spectrogram": Form((40, 49), 7, "sound", rate_hz=8000.0),
    "table": Form((9,), 7, "table", (1, 5, 2, 1)),
}
NAMES = sorted({*MODELS} - {"backbone"})  # which has tests of its own
SEQUENCES = {"cnn1d", "gru", "lstm", "attention"}
IMAGES = {"ds-cnn", "resnet8", "mobilenet"}
ALL = {"perceptron", "linear"}
TAKES = {
    "grey": ALL | SEQUENCES | IMAGES | {"convnet", "strided", "scatter"},
    "digits": ALL | SEQUENCES | IMAGES | {"strided", "scatter"},
    "colour": ALL | SEQUENCES | IMAGES | {"convnet", "strided", "scatter"},
    "window": ALL | SEQUENCES | IMAGES,
    "spectrogram": ALL | SEQUENCES | IMAGES | {"convnet", "strided"},
    "table": ALL | {"tabular"},
}


def inputs_of(model, form, num=3):
    x = torch.rand(num, *form.shape, generator=torch.Generator().manual_seed(1))
    front = front_of(model, form)
    return x if front is None else front(x).float()


@pytest.mark.parametrize(
    ("kind", "name"), itertools.product(FORMS, sorted({*MODELS} - {"backbone"}))
)
def test_a_net_takes_a_form_or_says_in_one_line_why_not(kind, name):
    model = Model(name=name, front="auto" if name == "scatter" else "none")
    form = FORMS[kind]
    if name == "autoencoder":
        form = form._replace(outputs=math.prod(form.shape))
    elif name not in TAKES[kind]:
        if kind == "window" and name in ("convnet", "strided"):
            return  # sides of 6: too small for their kernels, as any image
        with pytest.raises(ModelError) as found:
            build(model, form)
        assert re.match(r"\[model\] \w+ = ", str(found.value))
        assert len(str(found.value).splitlines()) == 1
        assert "use " in str(found.value)
        return
    net = build(model, form)
    x = inputs_of(model, form)
    outputs = net(x)
    assert outputs.shape == (3, form_behind(model, form).outputs)
    # a record by itself: no layer mixes records
    alone = torch.cat([net(one[None]) for one in x])
    assert torch.allclose(outputs, alone, atol=1e-5)
    outputs.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "form", "parameters"),
    [  # trained ones, of the reference models: BatchNorm has as many as GroupNorm
        ("ds-cnn", Form((49, 10), 12), 24_908 - 2 * 9 * 64),
        ("resnet8", Form((3, 32, 32), 10), 78_666 - 2 * 240),
        ("mobilenet", Form((3, 96, 96), 2), 221_794 - 2 * 2_736),
        ("autoencoder", Form((640,), 640, "window"), 267_928),
    ],
)
def test_sizes_are_those_of_the_benchmark(name, form, parameters):
    net = build(Model(name=name), form)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_ds_cnn_sees_the_whole_spectrum_of_a_sound_and_knows_where_in_it():
    form = Form((8000,), 4, "sound", (), 8000.0)
    net = build(Model(name="ds-cnn"), form)
    bands = torch.full((1, 40, 49), -1.0)
    low, high = bands.clone(), bands.clone()
    low[:, 12:16, 10:40], high[:, 24:28, 10:40] = 2.0, 2.0
    assert (net(low) - net(high)).abs().max() > 0.02
    (stem, *_) = (layer for layer in net if isinstance(layer, nn.Conv2d))
    assert (stem.kernel_size, stem.stride) == ((16, 10), (8, 2))  # of 40 bands; (4, 10) of 10
    assert stem(bands[:, None]).shape[2:] == (5, 24)


def test_resnet8_is_its_definition():
    net = build(Model(name="resnet8"), FORMS["colour"])
    w = dict(net.named_parameters())
    x, F = torch.rand(2, 3, 32, 32), nn.functional

    def conv(h, name, stride=1):
        weight = w[f"{name}.weight"]
        return F.conv2d(h, weight, w[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def normed(h, name):
        return F.group_norm(h, 8, w[f"{name}.weight"], w[f"{name}.bias"])

    h = normed(conv(x, "0"), "1").relu()
    for place, stride in ((3, 1), (5, 2), (7, 2)):
        body = normed(conv(h, f"{place}.body.0", stride), f"{place}.body.1").relu()
        body = normed(conv(body, f"{place}.body.3"), f"{place}.body.4")
        short = h if stride == 1 else conv(h, f"{place}.shortcut.0", stride)
        h = (body + short).relu()
    h = F.linear(h.mean((2, 3)), w["11.weight"], w["11.bias"])
    assert torch.allclose(net(x), h, atol=1e-5)
    assert sum(isinstance(layer, Residual) for layer in net) == 3


def test_an_embedding_is_a_row_of_its_matrix():
    form = FORMS["table"]
    net = build(Model(name="tabular", hidden=(4,)), form)
    (columns,) = (layer for layer in net if isinstance(layer, Columns))
    x = torch.zeros(1, 9)
    x[0, 0], x[0, 3], x[0, 6:8], x[0, 8] = 0.5, 1.0, torch.tensor([0.25, 1.0]), -1.0
    made = columns(x)[0]
    (table,) = columns.embeddings.values()
    row = table[0].weight[:, 2] + table[0].bias
    assert torch.allclose(made, torch.cat([torch.tensor([0.5]), row, torch.tensor([0.25, 1, -1])]))


def test_width_and_depth_are_read():
    form = FORMS["window"]
    for name in ("cnn1d", "gru", "lstm", "attention", "ds-cnn"):
        plain = sum(p.numel() for p in build(Model(name=name), form).parameters())
        narrow = sum(p.numel() for p in build(Model(name=name, width=16), form).parameters())
        deep = sum(p.numel() for p in build(Model(name=name, depth=5), form).parameters())
        assert narrow < plain < deep


@pytest.mark.parametrize("name", ["fixed", "ternary", "binary"])
@pytest.mark.parametrize("net", ["ds-cnn", "resnet8", "mobilenet", "cnn1d", "tabular", "linear"])
def test_convolutions_of_all_kinds_have_words(net, name):
    form = FORMS["table" if net == "tabular" else "window"]
    built = build(Model(name=net), form, Arithmetic(name=name))
    kinds = {type(layer).__name__ for layer in built.modules()}
    assert not kinds & {"Linear", "Conv1d", "Conv2d"}
    outputs = built(inputs_of(Model(name=net), form))
    outputs.sum().backward()
    assert outputs.shape == (3, 7)
    assert all(p.grad is not None for p in built.parameters())


@pytest.mark.parametrize(
    ("net", "name", "layer"),
    [
        ("gru", "fixed", "GRU"),
        ("lstm", "binary", "LSTM"),
        ("attention", "ternary", "MultiheadAttention"),
        ("gru", "stochastic", "GRU"),
        ("cnn1d", "stochastic", "Conv1d"),
        ("ds-cnn", "stochastic", "oblong Conv2d"),
        ("resnet8", "stochastic", "GroupNorm"),
        ("tabular", "stochastic", "Columns"),
    ],
)
def test_a_layer_that_an_arithmetic_lacks_is_named(net, name, layer):
    form = FORMS["table" if net == "tabular" else "window"]
    with pytest.raises(
        ModelError, match=rf"\[arithmetic\] name = '{name}': .*no {layer}|no .*{layer}"
    ):
        build(Model(name=net), form, Arithmetic(name=name))


@pytest.mark.parametrize("name", ["cnn1d", "ds-cnn"])
def test_a_norm_of_one_number_is_refused(name):
    """Whatever the number, its norm is nothing, and a batch of one record fails in training."""
    form = Form((1, 4), 3, "window") if name == "cnn1d" else Form((2, 2), 3)
    with pytest.raises(ModelError, match=r"left with one number a group; give .* width = 16"):
        build(Model(name=name, width=4, kernel=3), form)
    build(Model(name=name, width=16, kernel=3), form)
