"""A backbone: its features against the net written out, its file, and what is never read."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asked import Device, some, tiny
from safetensors.torch import load_file, save_file

from clients.models import Model, front_of, name_front, weights
from clients.models.backbone import BLOCKS, FEATURES, plan
from clients.models.weights import keep, recall
from clients.protocol import Form
from privacy.errors import ModelError, RunError, SettingsError
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run

COLOUR = Form((3, 32, 32), 10)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A file of weights of the right shapes, drawn at random."""
    g, tensors = torch.Generator().manual_seed(0), {}
    for conv in plan():
        depth = 1 if conv.depthwise else conv.inputs
        shape = (conv.outputs, depth, conv.kernel, conv.kernel)
        deviation = (2 / (depth * conv.kernel**2)) ** 0.5
        tensors[f"{conv.keys[0]}.weight"] = torch.randn(shape, generator=g) * deviation
        for part in ("weight", "running_var"):
            tensors[f"{conv.keys[1]}.{part}"] = torch.rand(conv.outputs, generator=g) + 0.5
        for part in ("bias", "running_mean"):
            tensors[f"{conv.keys[1]}.{part}"] = torch.randn(conv.outputs, generator=g) * 0.1
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture
def file(drawn, tmp_path, monkeypatch):
    """The file, and a cache in which it is not."""
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "_PLACES", {})
    return drawn


def model_of(file, **settings):
    sha256 = keep(file)
    return Model(name="backbone", weights=file.name, weights_sha256=sha256, **settings)


def written_out(x, w):
    """EfficientNet-Lite0 block by block, with its norms as they are."""

    def step(x, conv, norm, stride=1, groups=1, active=True):
        kernel = w[f"{conv}.weight"].shape[-1]
        pads = []
        for side in reversed(x.shape[2:]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        x = F.conv2d(F.pad(x, pads), w[f"{conv}.weight"], None, stride, groups=groups)
        parts = [w[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *parts, False, 0, 1e-3)
        return F.relu6(x) if active else x

    x = step((x * 255 - 127) / 128, "_conv_stem", "_bn0", 2)
    for number, (inputs, outputs, expansion, _, stride) in enumerate(BLOCKS):
        at, before = f"_blocks.{number}.", x
        if expansion > 1:
            x = step(x, f"{at}_expand_conv", f"{at}_bn0")
        x = step(x, f"{at}_depthwise_conv", f"{at}_bn1", stride, x.shape[1])
        x = step(x, f"{at}_project_conv", f"{at}_bn2", active=False)
        x = x + before if stride == 1 and inputs == outputs else x
    tops, lefts = ([slice(0, -(-n // 2)), slice(n // 2, n)] for n in x.shape[2:])
    quarters = [x[:, :, top, left].mean((2, 3)) for top in tops for left in lefts]
    return torch.stack(quarters, -1).flatten(1)


@pytest.mark.parametrize("size", [32, 45])
def test_features_are_those_of_the_net(file, size):
    front = front_of(model_of(file, size=size), COLOUR._replace(shape=(3, size, size)))
    x = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(size))
    expected = F.layer_norm(written_out(x, load_file(file)), (FEATURES,))
    assert torch.allclose(front(x).float(), expected, atol=0.02)
    one_by_one = torch.cat([front(one[None]) for one in x])
    assert torch.allclose(front(x).float(), one_by_one.float(), atol=0.02)


def test_pictures_are_brought_to_size_and_grey_to_colour(file):
    model = model_of(file, size=32)
    assert front_of(model, COLOUR)(torch.rand(2, 3, 20, 90)).shape == (2, FEATURES)
    grey = torch.rand(2, 28, 28)
    made = front_of(model, Form((28, 28), 10))(grey)
    colour = front_of(model, Form((3, 28, 28), 10))(grey[:, None].expand(-1, 3, -1, -1))
    assert torch.equal(made, colour)
    assert front_of(model, COLOUR)(torch.zeros(0, 3, 8, 8)).shape == (0, FEATURES)


def test_steps_are_the_nets_products(file):
    steps = front_of(model_of(file, size=224), COLOUR).steps()
    products = [step.product for step in steps if step.product]
    behind = 7 * 7 * 320 * 1280  # of the convolution that is left out
    found = sum(p.groups * p.positions * p.depth * p.outputs for p in products)
    assert found == 383_907_552 - behind
    assert sum(step.name == "add" for step in steps) == 9
    assert all(-1 <= at < place for place, step in enumerate(steps) for at in step.reads)


def test_features_are_kept_by_weights_and_size(file):
    model = model_of(file)
    names = {
        name_front(model, COLOUR),
        name_front(model.model_copy(update={"size": 64}), COLOUR),
        name_front(model.model_copy(update={"weights_sha256": "a" * 64}), COLOUR),
    }
    assert len(names) == 3


def test_a_head_is_trained_on_it_and_the_run_names_no_path(file, runs):
    asked = [f"model.weights={file}", "model.name=backbone", "model.size=32", "data.limit=400"]
    run = launch(load_experiment("tiny", [*asked, "federation.rounds=1"]), runs)
    assert set(run.weights(1)) == {"1.weight", "1.bias"}
    assert run.weights(1)["1.weight"].shape == (10, FEATURES)
    text = (run.path / "experiment.toml").read_text()
    assert str(file.parent) not in text
    weights._PLACES.clear()  # as in another process
    model = Run.open(run.path).experiment.model
    assert front_of(model, COLOUR)
    again = load_experiment(str(run.path / "experiment.toml"))
    assert again.model == model


def test_a_file_of_code_is_refused_with_what_converts_it(file, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was run"),)

    for ending in (".pth", ".pt", ".bin", ".ckpt"):
        path = tmp_path / f"net{ending}"
        path.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(SettingsError) as found:
            load_experiment("tiny", ["model.name=backbone", f"model.weights={path}"])
        assert "to load a " + ending in str(found.value)
        assert len(str(found.value).splitlines()) == 1
    assert not (tmp_path / "was run").exists()
    # and the command in it does what it says
    command = str(found.value).partition('python -c "')[2].rpartition('"')[0]
    torch.save(load_file(file), tmp_path / "net.ckpt")
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    assert np.array_equal(
        load_file(tmp_path / "net.safetensors")["_bn0.weight"], load_file(file)["_bn0.weight"]
    )


def other(tmp_path, change):
    path = tmp_path / "other.safetensors"
    tensors = {"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}
    change(path, tensors)
    return path


FAULTS = {
    "another net's": (lambda p, t: save_file(t, p), r"_bn0\.weight is none, and \[32\]"),
    "another shape": (
        lambda p, t: save_file({"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, p),
        r"_conv_stem\.weight is \[8, 3, 3, 3\], and \[32, 3, 3, 3\] in EfficientNet-Lite0",
    ),
    "not finite": (
        lambda p, t: save_file({"a": torch.tensor([float("nan")])}, p),
        r"a: has a number that is not finite",
    ),
    "no file of its kind": (lambda p, t: p.write_bytes(b"PK\x03\x04" * 9), r"no whole safetensors"),
    "cut short": (
        lambda p, t: (save_file(t, p), p.write_bytes(p.read_bytes()[:200])),
        r"no whole safetensors",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_will_not_do_is_one_line(file, tmp_path, fault):
    change, told = FAULTS[fault]
    model = model_of(other(tmp_path, change))
    with pytest.raises(ModelError, match=told) as found:
        front_of(model, COLOUR)
    assert len(str(found.value).splitlines()) == 1


def test_a_copy_that_was_altered_is_refused(file, tmp_path):
    model = model_of(file)
    (copy,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    assert recall(model.weights_sha256)
    with pytest.raises(ModelError, match="bring that file back"):
        weights.find(model.weights, model.weights_sha256)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["model.name=backbone"], "weights: missing"),
        (["model.name=backbone", "model.weights=nowhere.safetensors"], "cannot be read.*beside"),
        (["model.name=backbone", "model.weights=net.onnx"], "is no .safetensors file"),
        (["model.weights=nowhere.safetensors"], "would change nothing"),
        (["model.size=64"], "would change nothing"),
    ],
)
def test_settings_that_will_not_do_are_one_line(file, runs, settings, told):
    with pytest.raises((SettingsError, ModelError, RunError), match=told) as found:
        launch(load_experiment("tiny", settings), runs)
    assert len(str(found.value).splitlines()) == 1


def test_other_records_than_pictures_are_refused(file):
    for form in (Form((6, 128), 3, "window"), Form((4, 8, 8), 3), Form((9,), 3, "table")):
        with pytest.raises(ModelError, match="reads grey or colour pictures"):
            front_of(model_of(file), form)


def test_a_node_reads_only_what_its_owner_put_there(file, tmp_path):
    sha256 = keep(file)
    shutil.rmtree(tmp_path / "cache")
    weights._PLACES.clear()
    node = Device(tmp_path / "node", some(30))
    named = {"name": "backbone", "weights": str(file), "weights_sha256": sha256, "size": 32}
    head = {"1.weight": np.zeros((10, FEATURES), np.float32), "1.bias": np.zeros(10, np.float32)}
    told = node.refuses(tiny(model=named), head)
    assert "is here" in told
    keep(file)  # privet node --weights
    assert not node.ask(tiny(model=named), head).has_error()
