"""A finished model that privet did not train: what it tells of its records, and what it proves."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attacks.leakage import delong
from server.adversary.strangers.finished import Subject, attack_model, audit_model
from server.adversary.strangers.models import open_model

NET = """
from torch import nn

def Net(shape, classes, width=64):
    return nn.Sequential(nn.Linear(shape[0], width), nn.BatchNorm1d(width), nn.ReLU(),
                         nn.Linear(width, classes))
"""
NUM, FEATURES, CLASSES = 150, 20, 4


def records(num, seed):
    """Of labels that nothing tells: who knows one has learnt it by heart."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, FEATURES)).astype(np.float32)
    return x, rng.integers(0, CLASSES, num)


def trained(x, y, seed=0, steps=60):
    scope = {}
    exec(NET, scope)
    torch.manual_seed(seed)
    net = scope["Net"]((FEATURES,), CLASSES)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A user's files: a model that learnt its members by heart, one that saw neither, records."""
    folder = tmp_path_factory.mktemp("given")
    (x, y), (other_x, other_y) = records(NUM, 1), records(NUM, 2)
    np.savez(folder / "in.npz", x=x, y=y, person=np.arange(NUM) // 5)
    np.savez(folder / "out.npz", x=other_x, y=other_y, person=1000 + np.arange(NUM) // 5)
    (folder / "my_model.py").write_text(NET)
    net = trained(x, y)
    save_file(net.state_dict(), folder / "net.safetensors")
    save_file(trained(*records(NUM, 3)).state_dict(), folder / "reference.safetensors")
    return folder, net


def subject_of(folder, **changes):
    known = {
        "model": f"{folder}/my_model.py:Net",
        "members": folder / "in.npz",
        "non_members": folder / "out.npz",
        "weights": folder / "net.safetensors",
    }
    return Subject(**(known | changes))


def test_a_model_that_learnt_by_heart_tells_of_its_records(given):
    folder, net = given
    found = attack_model(subject_of(folder, references=[folder / "reference.safetensors"]))
    assert set(found["attacks"]) == {"loss", "calibrated", "rmia_offline"}
    assert found["attacks"]["loss"]["auc"]["low"] > 0.8
    assert found["attacks"]["loss"]["epsilon"] > 1
    assert found["train_test_gap"]["gap"]["low"] > 0.3
    assert found["persons"]["auc"]["low"] > 0.8
    assert found["notes"] == []
    # the figure of the loss is that of torch's own, record by record
    x, y = (np.concatenate([np.load(folder / f)[k] for f in ("in.npz", "out.npz")]) for k in "xy")
    with torch.no_grad():
        loss = nn.functional.cross_entropy(
            net(torch.from_numpy(x)).double(), torch.from_numpy(y), reduction="none"
        )
    member = np.arange(2 * NUM) < NUM
    assert found["attacks"]["loss"]["auc"] == vars(delong(-loss.numpy(), member))


def test_records_that_it_never_saw_are_at_chance(given):
    folder, _ = given
    found = attack_model(subject_of(folder, weights=folder / "reference.safetensors"))
    assert set(found["attacks"]) == {"loss"}
    assert found["attacks"]["loss"]["auc"]["low"] < 0.5 < found["attacks"]["loss"]["auc"]["high"]
    assert {"calibrated", "rmia_offline", "shadows", "updates"} <= set(found["left_out"])


def test_two_populations_are_told_apart_without_the_model(given, tmp_path):
    """Or what differs between the files would pass for what the model has learnt."""
    folder, _ = given
    x, y = records(NUM, 4)
    x[:, 0] += 2
    x[:5] = np.load(folder / "in.npz")["x"][:5]
    np.savez(tmp_path / "late.npz", x=x, y=y)
    found = attack_model(subject_of(folder, non_members=tmp_path / "late.npz"))
    assert found["without_model"]["auc"]["low"] > 0.6
    assert "told apart without the model" in found["notes"][-1]
    assert "5 records" in found["notes"][0]


def test_a_claim_that_the_model_refutes_is_red(given):
    folder, _ = given
    bounds, check = audit_model(subject_of(folder), 1.0, 1e-6)
    assert check.state == "FAILED"
    assert bounds[0].epsilon > 1.5
    fresh = subject_of(folder, weights=folder / "reference.safetensors")
    assert audit_model(fresh, 1.0, 1e-6)[1].state == "passed"


@pytest.mark.parametrize("batch", [None, 7])
def test_a_graph_answers_as_the_model_it_was_made_of(given, tmp_path, batch):
    """With any number of records, or with as many at once as it takes; logits, or probabilities."""
    pytest.importorskip("onnxruntime")
    folder, net = given
    path = tmp_path / "net.onnx"
    torch.onnx.export(
        nn.Sequential(net, nn.Softmax(1)).eval(), (torch.zeros(batch or 2, FEATURES),), str(path),
        input_names=["in"], dynamic_axes=None if batch else {"in": {0: "n"}},
    )  # fmt: skip
    found = attack_model(subject_of(folder, model=str(path), weights=None))
    own = attack_model(subject_of(folder))
    assert "probabilities" in found["notes"][0]
    assert found["attacks"]["loss"]["auc"]["value"] == pytest.approx(
        own["attacks"]["loss"]["auc"]["value"], abs=1e-3
    )
    x = torch.from_numpy(np.load(folder / "in.npz")["x"])[:10]
    torch.testing.assert_close(open_model(str(path), None, None)(x), net(x).softmax(1))


def test_from_the_command_line(given, privet):
    folder, _ = given
    files = ["--members", f"{folder}/in.npz", "--non-members", f"{folder}/out.npz"]
    model = [f"{folder}/my_model.py:Net", "--weights", f"{folder}/net.safetensors", *files]
    status, said, _ = privet("attack", "model", *model, "--json")
    assert (status, json.loads(said)["members"]) == (0, NUM)
    status, said, err = privet("attack", "model", *model)
    assert status == 0
    assert "loss" in said
    assert "left out: updates" in err
    status, said, _ = privet(
        "audit", "model", *model, "--epsilon", "1", "--delta", "1e-6", "--json"
    )
    assert (status, json.loads(said)["passed"]) == (1, False)


def bad_files(folder, tmp_path):
    x, y = records(20, 5)
    for name, arrays in {
        "narrow": {"x": x[:, :3], "y": y},
        "few": {"x": x[:3], "y": y[:3]},
        "nan": {"x": np.where(x > 2, np.nan, x), "y": y},
        "twelve": {"x": x, "y": y + 9},
        "text": {"x": x, "y": y.astype(str)},
        "half": {"x": x, "y": y + 0.5},
        "bare": {"x": x},
        "more": {"x": x, "y": y, "z": y},
    }.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "net.pt").write_bytes(b"x")
    (tmp_path / "net.onnx").write_bytes(b"x" * 100)
    (tmp_path / "broken.py").write_text("def Net(shape, classes): return 1 / 0")
    save_file({"0.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    model, weights = f"{folder}/my_model.py:Net", ("--weights", f"{folder}/net.safetensors")
    whole = ("--non-members", f"{folder}/out.npz")
    for name, told in (
        ("narrow", "one kind"), ("few", "needs 10"), ("nan", "finite"), ("twelve", "13 outputs"),
        ("text", "numbers alone"), ("half", "from 0"), ("bare", "x and y"), ("more", "z: not read"),
        ("none", "No such file"),
    ):  # fmt: skip
        yield (model, *weights, "--members", f"{tmp_path}/{name}.npz", *whole), told
    whole = ("--members", f"{folder}/in.npz", *whole)
    yield (model, *weights, "--members", f"{folder}/in.npz"), "--non-members"
    yield (model, *whole), "--weights FILE.safetensors"
    yield (model, "--weights", f"{tmp_path}/net.pt", *whole), "convert it once"
    yield (model, "--weights", f"{tmp_path}/other.safetensors", *whole), "not the weights"
    yield (model, "--weights", f"{tmp_path}/none.safetensors", *whole), "No such file"
    yield (model, *weights, "-s", "model.options.wide=3", *whole), "wide"
    yield (f"{tmp_path}/broken.py:Net", *weights, *whole), "ZeroDivisionError"
    yield (f"{tmp_path}/none.py:Net", *weights, *whole), "cannot be read"
    yield (f"{tmp_path}/net.pt", *whole), "convert it once"
    yield ("net.keras", *whole), "FILE.onnx"
    if "onnxruntime" in sys.modules:
        yield (f"{tmp_path}/net.onnx", *whole), "no graph"
        yield (f"{tmp_path}/net.onnx", *weights, *whole), "would change nothing"


def test_what_is_wrong_is_one_line(given, privet, tmp_path):
    folder, _ = given
    for words, told in bad_files(folder, tmp_path):
        status, said, err = privet("attack", "model", *words)
        assert (status, said, len(err.splitlines())) == (2, "", 1), (words, err)
        assert told in err, words
    for words, told in (
        (("attack", "models", "net.onnx"), "privet attack model net.onnx"),
        (("attack", "latest", "--weights", "x.safetensors"), "is a run"),
        (("audit", "step", "a.py:b", "--members", "a.npz"), "privet audit model"),
        (("cost", "net.onnx"), "net.onnx: cannot be read: No such file"),
        (("audit", "model", f"{folder}/my_model.py:Net", "--members", f"{folder}/in.npz",
          "--non-members", f"{folder}/out.npz"), "--epsilon"),
    ):  # fmt: skip
        status, said, err = privet(*words)
        assert (status, said, len(err.splitlines())) == (2, "", 1), err
        assert told in err
