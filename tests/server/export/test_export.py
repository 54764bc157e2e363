"""What is exported answers as the run does, elsewhere: in onnxruntime, and in torch alone."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from exported import FORMS, Asked
from safetensors.torch import load_file, save_file
from torch import nn

from clients.arithmetic import Arithmetic
from clients.models import MODELS, Model
from clients.protocol import Form
from clients.training.net import build
from clients.training.plain import plain
from privacy.errors import ModelError, RunError
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.export import answers
from server.export.onnx import to_onnx
from server.export.torch import to_torch

try:
    import onnx
    import onnxruntime
except ImportError:
    onnxruntime = None

OF_DENSE = ("perceptron", "tabular", "cnn1d", "convnet")
CASES = [(name, Arithmetic()) for name in FORMS] + [
    (name, numbers)
    for name in OF_DENSE
    for numbers in (
        Arithmetic(name="fixed", bits=4),
        Arithmetic(name="ternary"),
        Arithmetic(name="binary", activation_bits=1),
    )
]


@pytest.fixture
def given(monkeypatch):
    """Exports read `run.answers` in the place of a run's data."""
    for module in ("onnx", "torch"):
        monkeypatch.setattr(f"server.export.{module}.answers_of", lambda run: run.answers)


def test_every_ready_net_is_tried():
    assert set(FORMS) == set(MODELS) - {"scatter", "backbone"}  # which are linear, behind a front


@pytest.mark.parametrize(("name", "numbers"), CASES, ids=lambda c: getattr(c, "name", c))
def test_each_net_in_each_arithmetic_answers_the_same_elsewhere(name, numbers, given, tmp_path):
    """Float within 1e-4 of the run's answers; words to the last bit, and near to what training
    computes in float32 by kernels of its own."""
    run = Asked(name, numbers)
    with torch.no_grad():
        each = run.answers.distances(run.net(run.answers.x))
    assert float(each.median()) < 1e-5
    assert float(each.max()) < 0.02
    most = 1e-4 if numbers.name == "float" else 0.0
    told = to_torch(run, tmp_path / "net")[1]
    assert "to the last bit" in told or most
    if onnxruntime is None:  # it arrives with Concrete ML, which has no wheels for 3.12
        with pytest.raises(RunError, match="pip install"):
            to_onnx(run, tmp_path / "net.onnx")
        return
    to_onnx(run, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (said,) = session.run(None, {"records": run.answers.x.numpy()[:5]})
    np.testing.assert_allclose(said, run.answers.outputs[:5], rtol=0, atol=most)
    operations = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    if numbers.name != "float" and numbers.activation_bits > 1:
        assert {"QuantizeLinear"} < operations & {"QuantizeLinear", "MatMulInteger", "ConvInteger"}


def test_an_export_that_answers_otherwise_is_not_written(given, tmp_path, monkeypatch):
    run = Asked("perceptron", Arithmetic())
    monkeypatch.setattr(
        "server.export.torch.plain",
        lambda net: plain(Asked("perceptron", Arithmetic(name="binary")).net),
    )
    with pytest.raises(RunError, match="nothing was written"):
        to_torch(run, tmp_path / "net")
    assert not list(tmp_path.iterdir())


class Own(nn.Module):
    """A class of a user's, which may do with floats what it likes."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def test_a_sum_between_two_words_may_go_to_either_and_more_may_not():
    """Of one record in twenty, or of one, where words are mixed with a user's floats."""
    run = Asked("perceptron", Arithmetic(name="fixed", bits=4)).answers
    assert "9 of 9 records answered as the run answers them, to the last" in run.require(
        run.outputs, "it"
    )
    other = run.outputs.clone()
    other[0] += 0.01
    with pytest.raises(RunError, match="nothing was written"):
        run.require(other, "it")
    run = replace(run, net=Own(run.net))
    other = run.outputs.clone()
    other[0] += 0.01
    assert "of 1 a sum between two words" in run.require(other, "it")
    other[1] += 0.01
    with pytest.raises(RunError, match="nothing was written"):
        run.require(other, "it")
    floats = Asked("perceptron", Arithmetic()).answers
    other = floats.outputs.clone()
    other[0] += 0.01
    with pytest.raises(RunError, match="nothing was written"):
        floats.require(other, "it")
    other[0] = torch.nan
    with pytest.raises(RunError, match="nothing was written"):
        run.require(other, "it")


def test_streams_are_refused():
    with pytest.raises(ModelError, match="bits, spikes and spins"):
        plain(build(Model(name="perceptron"), Form((8, 8), 10), Arithmetic(name="stochastic")))


def test_from_the_command_line_and_without_privet(runs, privet, tmp_path):
    run = launch(load_experiment("tiny", ["federation.rounds=1"]), runs, "small")
    out = tmp_path / "net"
    status, said, err = privet("export", "small", "--to", "torch", "-o", str(out))
    assert (status, said.strip()) == (0, str(out))
    assert "as the run answers them" in err
    asked = answers.answers_of(run)
    save_file({"x": asked.x}, tmp_path / "x.safetensors")
    code = (
        "import torch, sys; from safetensors.torch import load_file, save_file; import model;"
        "y = model.load()(load_file('../x.safetensors')['x']);"
        "save_file({'y': y}, '../y.safetensors');"
        "assert not {'privacy', 'clients', 'server', 'attacks'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=out, check=True, env={"PYTHONPATH": ""})
    torch.testing.assert_close(load_file(tmp_path / "y.safetensors")["y"], asked.outputs)

    status, said, _ = privet("export", "small", "--to", "card", "-o", str(tmp_path / "card.md"))
    assert status == 0
    _, head, body = (tmp_path / "card.md").read_text().split("---\n", 2)
    about = {k: json.loads(v) for k, v in (line.split(": ", 1) for line in head.splitlines())}
    assert "differential-privacy" in about["tags"]
    metrics = {m["type"]: m["value"] for m in about["model-index"][0]["results"][0]["metrics"]}
    assert metrics["accuracy"] == run.rounds[-1].accuracy
    assert "# Statement on privacy: small" in body
    status, _, err = privet("export", "small", "--to", "onyx")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "onnx" in err
