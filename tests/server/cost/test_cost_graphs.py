"""`privet cost FILE.onnx`: a graph is priced as the net it was made of."""

import json
import resource

import numpy as np
import pytest
import torch
from exported import FORMS, Asked
from torch import nn

from clients.arithmetic import Arithmetic
from clients.chip.workloads.trace import trace
from privacy.errors import ModelError
from server.adversary.strangers.models import open_model
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


def constant(*nodes, **held):
    """A graph that adds to its records what is worked out of what it holds."""
    make = onnx.helper
    ends = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 1]) for n in "xy"]
    ends[1].type.tensor_type.ClearField("shape")
    arrays = [onnx.numpy_helper.from_array(np.array(v), name) for name, v in held.items()]
    made = [make.make_node(kind, reads, [gives]) for kind, reads, gives in nodes]
    made.append(make.make_node("Add", ["x", "c"], ["y"]))
    graph = make.make_graph(made, "net", ends[:1], ends[1:], arrays)
    ops = [make.make_opsetid("", 17)]
    return make.make_model(graph, opset_imports=ops, ir_version=8).SerializeToString()


ONE = np.ones((1, 1), np.float32)
HUGE = {  # 16 GiB and more, of some hundred bytes
    "filled": constant(("ConstantOfShape", ["s"], "c"), s=[1 << 20, 4096]),
    "padded": constant(("Pad", ["v", "s"], "c"), v=ONE, s=[0, 0, 1 << 20, 4096]),
    "a shape that is worked out": constant(
        ("Mul", ["a", "a"], "s"), ("Expand", ["v", "s"], "c"), v=ONE, a=[1 << 10, 1 << 6]
    ),
    "a column times a row": constant(
        ("Tile", ["v", "s"], "t"), ("Transpose", ["t"], "u"), ("Mul", ["t", "u"], "c"),
        v=ONE, s=[1 << 16, 1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HUGE)
def test_what_is_worked_out_of_a_graph_is_bounded_before_it_is(kind, privet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    (tmp_path / "net.onnx").write_bytes(HUGE[kind])
    status, _, err = privet("cost", "net.onnx")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "net.onnx: what is constant in it takes more than 4.0 GiB to work out" in err
    with pytest.raises(ModelError, match=r"net.onnx: what is constant in it takes more"):
        open_model("net.onnx", None, None)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


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
