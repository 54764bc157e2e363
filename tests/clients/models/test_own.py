"""The user's own model: what it is called with, and each fault of its file as one line."""

import re
import sys
import threading

import pytest
import torch

from clients.arithmetic import Arithmetic
from clients.models import Model, own, sources
from clients.models.norms import told_of_norms
from clients.protocol import Form
from clients.training.net import build
from privacy.errors import ModelError

FORM = Form((6, 4), 3, "window", rate_hz=50.0)
HEAD = "import torch\nfrom torch import nn\n"
LINEAR = "nn.Sequential(nn.Flatten(), nn.Linear({}, {}))"


@pytest.fixture
def model(tmp_path):
    """A model of a file with such a text."""

    def write(text, options=()):
        path = tmp_path / "mine.py"
        path.write_text(HEAD + text)
        return Model(name="mine.py:Net", options=options, sha256=sources.admit(path, "mine.py"))

    return write


@pytest.mark.parametrize(
    ("signature", "given"),
    [
        ("shape, outputs", "(shape, outputs)"),
        ("a, b", "(a, b)"),
        ("classes, shape", "(shape, classes)"),
        ("form, width=3", "(form.shape, form.outputs * width // 3)"),
        ("*, num_classes, shape", "(shape, num_classes)"),
        ("shape, outputs, **rest", "(shape, outputs + len(rest))"),
    ],
)
def test_it_is_called_with_what_its_signature_asks_for(model, signature, given):
    body = f"    assert {given} == ((6, 4), 3)\n    return " + LINEAR.format("24", "3")
    net = build(model(f"def Net({signature}):\n{body}\n"), FORM)
    assert net(torch.zeros(2, 6, 4)).shape == (2, 3)


def test_options_reach_it_as_they_are_written(model):
    text = (
        "class Net(nn.Module):\n"
        "    def __init__(self, shape, classes, widths, name='', rate=0.0, on=False):\n"
        "        super().__init__()\n"
        "        assert (widths, name, rate, on) == ([4, 5], 'a', 0.5, True), (widths, rate)\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.Linear(24, classes))\n"
        "    def forward(self, x):\n"
        "        return self.net(x)\n"
    )
    found = model(text, {"widths": [4, 5], "name": "a", "rate": 0.5, "on": True})
    assert build(found, FORM)(torch.zeros(5, 6, 4)).shape == (5, 3)
    again = Model.model_validate_json(found.model_dump_json())
    assert again == found
    assert hash(again) == hash(found)


def test_weights_come_from_the_seed_alone_and_trying_leaves_no_trace(model):
    text = (
        "class Net(nn.Module):\n"
        "    def __init__(self, shape, classes):\n"
        "        super().__init__()\n"
        "        self.calls = 0\n"
        "        self.register_buffer('seen', torch.zeros(1))\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(24, classes))\n"
        "    def forward(self, x):\n"
        "        self.seen += len(x)\n"
        "        return self.net(x)\n"
    )
    found, drawn = model(text), []
    for _ in range(2):
        torch.manual_seed(3)
        net = build(found, FORM)
        drawn.append((net.net[2].weight, torch.rand(3)))
        assert net.seen == 0
        assert net.training
    torch.manual_seed(3)
    plain = torch.nn.Linear(24, 3)
    assert torch.equal(drawn[0][0], plain.weight)
    assert torch.equal(drawn[1][0], plain.weight)
    assert torch.equal(drawn[0][1], drawn[1][1])


FAULTS = {
    "syntax": ("def Net(:\n", r"^mine\.py, line 3: SyntaxError: "),
    "import": ("import not_there_at_all\n", r"line 3: ModuleNotFoundError: .*a model is one file"),
    "exit": ("raise SystemExit(3)\n", r"line 3: SystemExit: 3; "),
    "missing": ("def Nett(shape, outputs): ...\n", r"no class or function Net; did you mean Nett"),
    "not callable": ("Net = 3\n", r"no class or function Net"),
    "constructor": (
        "def Net(shape, outputs):\n    return nn.Linear(shape, 3.5)\n",
        r"^mine\.py, line 4: TypeError: ",
    ),
    "no module": ("def Net(shape, outputs):\n    return 3\n", r"line 3: Net gave a int; return an"),
    "arguments": (
        "def Net(shape, depth): ...\n",
        r"line 3: Net: missing a required argument: 'depth'; give it in \[model\.options\]",
    ),
    "nothing to train": ("def Net(): return nn.Flatten()\n", r"has no parameters to train"),
    "double": (
        "def Net(): return nn.Sequential(nn.Flatten(), nn.Linear(24, 3).double())\n",
        r"1\.weight is torch\.float64; use torch\.float32",
    ),
    "forward": (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a = nn.Linear(5, 3)\n    def forward(self, x):\n        return self.a(x)\n",
        r"^mine\.py, line 8: RuntimeError: .*; mend forward",
    ),
    "shape": (
        "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(24, 4)\n"
        "    def forward(self, x):\n        return super().forward(x.flatten(1))\n",
        r"^mine\.py, line 6: forward gave float32 \[2, 4\], and float32 \[2, 3\] is wanted",
    ),
    "squeezed": (
        "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(24, 3)\n"
        "    def forward(self, x):\n        return super().forward(x.flatten(1)).squeeze()\n",
        r"forward gave float32 \[3\], and float32 \[1, 3\] is wanted",
    ),
    "tuple": ("def Net(): return nn.LSTM(4, 3, batch_first=True)\n", r"forward gave a tuple"),
    "mixed in training": (
        "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(24, 3)\n"
        "    def forward(self, x):\n        y = super().forward(x.flatten(1))\n"
        "        return y.mean(0) if self.training else y\n",
        r"forward gave float32 \[3\], and float32 \[2, 3\]",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_file_is_one_line_with_its_place(model, fault):
    text, told = FAULTS[fault]
    with pytest.raises(ModelError) as found:
        build(model(text), FORM)
    assert re.search(told, str(found.value)), found.value
    assert len(str(found.value).splitlines()) == 1
    assert str(found.value).startswith("mine.py")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widht": 3}, r"\[model\.options\] widht: no argument of Net; did you mean width\?"),
        ({"shape": 3}, r"\[model\.options\] shape: comes from the data; leave it out"),
    ],
)
def test_options_that_it_does_not_take_are_told(model, options, told):
    with pytest.raises(ModelError, match=told):
        build(model("def Net(shape, outputs, width=3): ...\n", options), FORM)


def test_what_it_prints_goes_to_stderr(model, capsys):
    text = "print('at import')\ndef Net():\n    print('at call')\n    return "
    build(model(text + LINEAR.format(24, 3) + "\n"), FORM)
    told = capsys.readouterr()
    assert not told.out
    assert "at import" in told.err
    assert "at call" in told.err


def test_it_is_float_unless_it_asks_for_layers(model):
    plain = model("def Net(): return " + LINEAR.format(24, 3) + "\n")
    with pytest.raises(ModelError, match=r"name = 'ternary': mine\.py:Net is made of torch's own"):
        build(plain, FORM, Arithmetic(name="ternary"))
    text = (
        "def Net(layers, shape, outputs):\n"
        "    return layers.chain([nn.Flatten(), *layers.entrance(), *layers.linear(24, outputs)])\n"
    )
    net = build(model(text), FORM, Arithmetic(name="ternary"))
    assert any(type(layer).__name__ == "ArithmeticLinear" for layer in net)


def test_a_file_that_was_not_admitted_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import sys\nsys.was_run = True\n")
    for sha256 in ("", "0" * 64):
        with pytest.raises(ModelError, match="was not admitted here"):
            build(Model(name="mine.py:Net", sha256=sha256), FORM)
    assert not hasattr(sys, "was_run")


def test_two_files_of_one_name_are_two_models(model):
    text = "def Net(): return " + LINEAR.format(24, 3) + "\n"
    first, second = model(text), model(text + "# another\n")
    assert build(first, FORM) is not build(second, FORM)
    assert first != second


def test_the_processes_of_a_simulation_find_it_in_their_environment(tmp_path, monkeypatch):
    path = tmp_path / "model.py"
    path.write_text(HEAD + "def Net(): return " + LINEAR.format(24, 3) + "\n# by environment\n")
    sha256 = sources.admit(path)
    del sources._ADMITTED[sha256]
    monkeypatch.setenv(sources.PLACE, str(path))
    assert build(Model(name="any.py:Net", sha256=sha256), FORM)
    del sources._ADMITTED[sha256]
    path.write_text(path.read_text() + "# altered\n")
    with pytest.raises(ModelError, match="bring that file back"):
        build(Model(name="any.py:Net", sha256=sha256), FORM)


def test_stdout_comes_back_however_threads_meet_in_a_model():
    """Two threads enter one after another and leave in the same order."""
    before, first_in, second_in, first_out = sys.stdout, *(threading.Event() for _ in range(3))

    def first():
        with own._QUIET:
            first_in.set()
            second_in.wait(9)
        first_out.set()

    def second():
        first_in.wait(9)
        with own._QUIET:
            second_in.set()
            first_out.wait(9)
            assert sys.stdout is not before

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stdout is before


NORMED = "nn.Sequential(nn.Conv1d(6, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), "


def test_group_norm_stands_for_batch_norm_and_a_notice_tells_it(model):
    net = build(model(f"def Net(shape, outputs):\n    return {NORMED}nn.Linear(16, 3))\n"), FORM)
    assert (type(net[1]), net[1].num_groups, net[1].num_channels) == (torch.nn.GroupNorm, 1, 8)
    assert told_of_norms(net).startswith("GroupNorm stands for BatchNorm1d (1), which mixes")
    x = torch.rand(4, 6, 4)
    assert torch.allclose(net(x)[:1], net(x[:1]), atol=1e-6)


def test_a_batch_norm_that_is_frozen_stays(model):
    frozen = f"    net = {NORMED}nn.Linear(16, 3))\n    net[1].eval()\n    return net\n"
    net = build(model(f"def Net(shape, outputs):\n{frozen}"), FORM)
    assert type(net[1]) is torch.nn.BatchNorm1d
    assert told_of_norms(net) == ""
