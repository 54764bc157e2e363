"""`privet cost FILE.py:NAME --shape ...`: a model without a run, for records of any form."""

import json

import pytest
import torch

from clients.chip import Workload, load_chip
from clients.models import MODELS
from clients.models.transform import Product, Step, Transform
from clients.protocol import Form
from privacy.errors import SettingsError
from server.cost import cost_of_model
from server.cost.asked import read_form
from server.cost.subjects import find_subject

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, outputs, width=4):
        super().__init__()
        self.conv = nn.Conv1d(shape[0], width, 3, padding=1)
        self.skip = nn.Conv1d(shape[0], width, 1)
        self.rnn = nn.GRU(width, 5, batch_first=True)
        self.head = nn.Linear(5, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x) + self.skip(x)).transpose(1, 2)
        return self.head(self.rnn(x)[0].mean(1))


def flat(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(NET)
    return tmp_path / "my_model.py"


def macs(length, width, classes):
    return length * (width * 6 * 3 + width * 6 + 15 * (width + 5)) + 5 * classes


@pytest.mark.parametrize("where", ["my_model.py", "./my_model.py", "{path}"])
def test_a_model_of_ones_own(privet, net, where):
    asked = (f"{where.format(path=net)}:Net", "--shape", "6x128", "--classes", "12")
    status, out, err = privet("cost", *asked, "--chip", "stm32h743", "--json")
    assert (status, err) == (0, "")
    (report,) = json.loads(out)
    assert report["inference"]["macs"] == macs(128, 4, 12)
    assert report["notes"] == [
        "a record of 6x128 is taken as a window; --kind says what else it is"
    ]
    held = {layer["layer"]: layer for layer in report["inference"]["held"]}
    assert held["gru rnn_l0"]["weight_bytes"] == 15 * 9 + 30
    assert held["add2"]["live_bytes"] == 3 * 4 * 128
    status, out, _ = privet("cost", *asked, "-s", "model.options.width=8", "--kind", "window")
    assert status == 0
    assert "gru rnn_l0" in out
    assert "is taken as" not in out
    status, out, _ = privet("cost", *asked, "-s", "model.options.width=8", "--json")
    assert json.loads(out)[0]["inference"]["macs"] == macs(128, 8, 12)


def test_a_model_of_privets_for_records_of_another_form(privet):
    status, out, _ = privet("cost", "convnet", "--shape", "20x20", "--classes", "3", "--json")
    assert status == 0
    small = json.loads(out)[0]["inference"]["macs"]
    assert 0 < small < json.loads(privet("cost", "convnet", "--json")[1])[0]["inference"]["macs"]


def test_what_a_front_and_an_adaptation_read_is_no_idle_setting():
    few, more = (
        find_subject("linear", None, ["model.front=strokes", f"model.axes={n}"]) for n in (9, 11)
    )
    assert (more.kept_bytes, more.network.parameters) == (22, 120)
    assert (few.kept_bytes, few.network.parameters) == (18, 100)
    head = find_subject("perceptron", None, ["model.adapt=head"]).network
    whole = find_subject("perceptron").network
    assert head.parameters == 129 * 10 < whole.parameters


def test_a_published_network_and_a_model_of_one_name(monkeypatch):
    monkeypatch.setitem(MODELS, "mobilenet", MODELS["convnet"])
    published = find_subject("mobilenet")
    assert published.network.macs > 5e8
    assert published.notes == (
        "the published network; privet's own mobilenet is priced with --shape",
    )
    own = find_subject("mobilenet", Form((28, 28), 10))
    assert own.network.parameters == 26_010
    assert own.notes == ()


def test_the_kind_is_what_such_a_shape_usually_is():
    for shape, kind, columns in (
        ("28x28", "picture", ()),
        ("20x28", "picture", ()),
        ("3x32x32", "picture", ()),
        ("6,128", "window", ()),
        ("16000", "sound", ()),
        ("3", "table", (1, 1, 1)),
    ):
        form, notes = read_form(shape, 5)
        assert (form.kind, form.columns, form.outputs) == (kind, columns, 5)
        assert len(notes) == (form.shape != (3, 32, 32))
    assert read_form("28x28", kind="window", rate_hz=50)[0].rate_hz == 50
    assert read_form()[0] == Form((28, 28), 10)


def test_what_is_wrong_is_said_in_one_line(privet, net, runs):
    own = ("my_model.py:Net", "--shape", "6x128")
    for arguments, said in (
        (("my_model.py:Net",), "--shape 6x128 --classes 12"),
        (("my_model.py:Net", "--classes", "3"), "--shape"),
        (("my_model.py:Nett", "--shape", "6x128"), "did you mean Net"),
        (("other.py:Net", "--shape", "6x128"), "other.py: cannot be read"),
        (("my_model.py:Net", "--shape", "6x"), "--shape 6x"),
        (("my_model.py:Net", "--shape", "0x6"), "--shape 0x6"),
        (("my_model.py:Net", "--shape", "99999999x99999999"), "values at most"),
        (("my_model.py:Net", "--shape", "1x2x3x4"), "one to three sides"),
        (("my_model.py:Net", "--shape", "-6x128"), "--shape -6x128"),
        (("my_model.py:Net", "--shape", "6"), "my_model.py, line"),
        ((*own, "--classes", "0"), "classes"),
        ((*own, "--kind", "windw"), "did you mean window"),
        ((*own, "--kind", "table"), "has 1 sides"),
        ((*own, "--kind", "picture", "--rate", "50"), "--rate 50"),
        ((*own, "-s", "model.options.widht=3"), "did you mean width"),
        ((*own, "-s", "model.hidden=[3]"), "would change nothing"),
        ((*own, "-s", "model.name=convnet"), "leave it out"),
        ((*own, "-s", "budget.epsilon=3"), "budget"),
        (("scatter", "-s", "model.pool=2"), "needs a model that reads pixels"),
        (("perceptron", "-s", "model.axes=9"), "needs [model] front = 'strokes'"),
        (("alexnet", "--shape", "3x3"), "records and layers of its own"),
        (("alexnet", "-s", "model.hidden=[3]"), "records and layers of its own"),
        (("scatter", "--shape", "6x128"), "reads pictures"),
    ):
        status, out, err = privet("cost", *arguments)
        assert (status, out) == (2, ""), (arguments, err)
        assert said in err
        assert len(err.splitlines()) == 1, err
    with pytest.raises(SettingsError, match="did you mean convnet"):
        find_subject("convnett")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (Form((7,), 2, "table", (1,) * 7), "my_model.py:flat"),
        (Form((6, 16), 2, "window"), "my_model.py:Net"),
        (Form((64,), 2, "sound", rate_hz=8000.0), "my_model.py:Net"),
    ],
)
def test_a_fixed_transform_of_any_form_is_priced(net, monkeypatch, form, name):
    """One that gives [6, 16], or [14] of a table, by a product with fixed weights."""

    def front(form):
        values = form.shape[-1] if form.kind == "table" else 48
        shape = (14,) if form.kind == "table" else (6, 16)
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        steps = [Step("rotate", (-1,), size, Product(1, size, values, 1)), Step("log", (0,), size)]
        return Transform(lambda x: torch.zeros(len(x), *shape), shape, lambda: steps, 4)

    monkeypatch.setattr("server.cost.subjects.front_of", lambda model, form: front(form))
    monkeypatch.setattr(
        "clients.training.net.form_behind",
        lambda model, form: form._replace(shape=front(form).shape),
    )
    subject = find_subject(name, form)
    chip = load_chip("stm32h743")
    report = cost_of_model(name, chip, Workload("dp-sgd"), 2, subject)
    size = 14 if form.kind == "table" else 96
    before = size * (7 if form.kind == "table" else 48)
    assert report.inference.macs == before + subject.network.macs
    assert subject.transform.parameters == 0
    assert subject.kept_bytes == 4 * size
    assert report.inference.rows[0].layer == "rotate"
