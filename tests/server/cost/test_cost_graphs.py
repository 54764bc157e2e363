"""`privet cost FILE.onnx`: a graph is priced as the net it was made of."""

import json

import numpy as np
import pytest
import torch
from exported import FORMS, Asked
from torch import nn

from clients.arithmetic import Arithmetic
from clients.chip.workloads.trace import trace
from privacy.errors import ModelError
from server.cost.graphs import Graph, subject_of_graph
from server.export.onnx import to_onnx

onnx = pytest.importorskip("onnx", reason="arrives with Concrete ML, which is not for 3.12")
pytest.importorskip("onnxruntime", reason="arrives with Concrete ML, which is not for 3.12")


@pytest.fixture
def graph(monkeypatch, tmp_path):
    monkeypatch.setattr("server.export.onnx.answers_of", lambda run: run.answers)
    monkeypatch.chdir(tmp_path)

    def write(name, kind="float"):
        run = Asked(name, Arithmetic(name=kind))
        to_onnx(run, tmp_path / "net.onnx")
        return tmp_path / "net.onnx", trace(run.net, FORMS[name].shape, name)

    return write


@pytest.mark.parametrize("name", ["convnet", "cnn1d", "tabular", "attention", "resnet8"])
def test_a_graph_has_the_products_and_weights_of_its_net(name, graph):
    path, net = graph(name)
    found = subject_of_graph(path).network
    assert found.macs == net.macs
    waves = 8 // 2 * 128 if name == "attention" else 0  # fixed, which a graph does not tell
    assert net.parameters <= found.parameters <= net.parameters + waves + 1


def test_of_words_what_is_above_zero_and_what_is_below_are_products_of_the_same_weights(graph):
    path, net = graph("convnet", "fixed")
    found = subject_of_graph(path).network
    assert found.macs == 2 * net.macs
    scales = 16 + 32 + 4  # and a few numbers of how words are rounded
    assert scales <= found.parameters - net.parameters < 2 * scales


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = nn.functional.hardswish(self.norm(self.conv(x)))
        return self.head(torch.softmax(x, 1).mean((2, 3)))


def test_a_strangers_graph_from_the_command_line(privet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.onnx.export(
        Foreign().eval(),
        (torch.zeros(1, 3, 16, 16),),
        "net.onnx",
        input_names=["x"],
        dynamic_axes={"x": {0: "n", 2: "height"}},
    )
    status, _, err = privet("cost", "net.onnx")
    assert (status, err) == (2, "privet: net.onnx: reads 3x?x16; say which: --shape\n")
    status, out, _ = privet("cost", "net.onnx", "--shape", "3x16x16", "--json")
    assert status == 0
    assert json.loads(out)[0]["inference"]["macs"] == 8 * 8 * 8 * 27 + 8 * 5
    (tmp_path / "text.onnx").write_text("none")
    for arguments, said in (
        (("net.onnx", "--shape", "3x16x8"), "reads 3x?x16"),
        (("net.onnx", "--classes", "5"), "--classes: would change nothing"),
        (("text.onnx",), "is no graph of ONNX"),
        (("other.onnx",), "cannot be read"),
    ):
        status, out, err = privet("cost", *arguments)
        assert (status, out) == (2, ""), arguments
        assert said in err
        assert len(err.splitlines()) == 1


def test_what_is_priced_from_no_graph_is_named(graph):
    path, _ = graph("gru")
    with pytest.raises(ModelError, match="GRU: priced from no graph"):
        subject_of_graph(path)


@pytest.mark.parametrize(
    ("conv", "pool"),
    [
        ({"pads": [1, 0, 2, 1]}, ("MaxPool", {})),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, ("AveragePool", {"ceil_mode": 1})),
        ({"auto_pad": "SAME_LOWER"}, ("MaxPool", {"auto_pad": "SAME_UPPER", "strides": [3, 3]})),
        ({"auto_pad": "VALID", "dilations": [2, 1]}, ("MaxPool", {"dilations": [2, 2]})),
    ],
)
def test_windows_lie_where_onnxruntime_lays_them(conv, pool):
    import onnxruntime

    rng, (kind, about) = np.random.default_rng(0), pool
    held = onnx.numpy_helper.from_array(rng.normal(size=(4, 1, 3, 2)).astype(np.float32), "w")
    make, sides = onnx.helper.make_node, [("x", ["n", 1, 13, 10]), ("y", None)]
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in sides]
    nodes = [
        make("Conv", ["x", "w"], ["c"], **conv),
        make(kind, ["c"], ["y"], **{"kernel_shape": [2, 2], "strides": [2, 2], **about}),
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "windows", ends[:1], ends[1:], [held]),
        opset_imports=[onnx.helper.make_opsetid("", 13)],
        ir_version=8,
    )
    x = rng.normal(size=(1, 1, 13, 10)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"x": x})
    found = Graph(model)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
