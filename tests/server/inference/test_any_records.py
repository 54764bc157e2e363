"""Whatever the records are, what a model reads of them is what is encrypted."""

import numpy as np
import owned
import pytest
import tomli_w
import torch

from clients.data.sets import load
from clients.node.query import Answer
from clients.training.records import records
from privacy.encrypted.ckks import Program
from privacy.encrypted.keys import CkksKeys
from privacy.encrypted.programs import plan_from_bytes
from privacy.encrypted.wire import read_offer
from privacy.errors import ModelError
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.inference.demo import Demo
from server.inference.program import compile_run, require_encryptable, trained_model
from server.inference.synthetic import synthetic_inputs

ROUND = ["federation.rounds=1", "federation.clients=1", "budget.unit=none"]
SQUARE = ["model.name=perceptron", "model.activation=square", "model.hidden=[4]"]
CNN1D = ["model.name=cnn1d", "model.activation=square", "model.norm=none", "model.pooling=mean"]
CNN1D += ["model.width=2", "model.depth=1", "model.kernel=3"]
WINDOWS = ["data.target=label", "data.windows.length=16", "data.windows.step=16"]


def patients(folder):
    age = owned.PATIENTS.columns["age"].model_copy(update={"knots": 4})
    columns = {**owned.PATIENTS.columns, "age": age}
    owned.write_table(folder / "records.csv", owned.patients(60))
    return "records.csv", owned.PATIENTS.model_copy(update={"columns": columns})


def sensor(folder):
    owned.write_table(folder / "records.csv", owned.sensor(4))
    return "records.csv", owned.SENSOR


def pets(folder):
    pictures = {f"{('cat', 'dog')[n % 2]}/{n}.png": owned.picture(n) for n in range(24)}
    owned.write_tree(folder / "records", pictures)
    return "records", owned.PETS.model_copy(update={"size": (8, 8)})


def words(folder):
    rng = np.random.default_rng(0)
    noise = [owned.sound(rng.integers(-9999, 9999, 400)) for _ in range(24)]
    owned.write_tree(
        folder / "records", {f"{('no', 'yes')[n % 2]}/{n}.wav": noise[n] for n in range(24)}
    )
    return "records", owned.WORDS


def experiment_of(folder, make, *settings):
    """A run's experiment on records in a folder, their schema beside them."""
    path, schema = make(folder)
    told = schema.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    (folder / "records.schema.toml").write_text(tomli_w.dumps(told))
    own = ["data.name=file", f"data.path={folder / path}", "data.test_share=0.3"]
    return load_experiment("tiny", [*ROUND, *own, *settings])


class Near:
    """A client whose service computes beside it."""

    key_generation_s = key_upload_s = 0.0
    keys_bytes = 0

    def __init__(self, folder):
        self.offer = read_offer((folder / "offer.json").read_bytes())
        self._keys = CkksKeys(self.offer)
        self._program = Program(plan_from_bytes((folder / "program.safetensors").read_bytes()))
        self._theirs = self._program.load_keys(self._keys.evaluation())
        self.logits = []

    def ask(self, image):
        answer = self._program.run(self._keys.encrypt(image), self._theirs)
        self.logits.append(self._keys.decrypt(answer))
        return Answer(int(self.logits[-1].argmax()), self.logits[-1], {"server": 0.0}, 0, 0)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (patients, ["data.target=state", "model.name=linear"]),
        (patients, ["data.target=state", *SQUARE]),
        (patients, ["data.target=state", "model.name=tabular", "model.activation=square"]),
        (sensor, [*WINDOWS, *CNN1D]),
        (pets, ["model.name=strided", "model.kernel=3", "model.hidden=[]"]),
        (pets, ["model.name=linear", "model.pool=2"]),
        (sensor, [*WINDOWS, "model.name=linear"]),
        (sensor, [*WINDOWS, "model.name=linear", "model.front=spectrum"]),
        (pets, ["model.name=linear"]),
        (pets, ["model.name=scatter"]),
        (words, ["model.name=linear"]),  # of log-mel
    ],
    ids=lambda case: case.__name__ if callable(case) else "-".join(case[-2:]),
)
def test_an_encrypted_answer_is_the_models(tmp_path, make, settings):
    run = launch(experiment_of(tmp_path, make, *settings), tmp_path, "run")
    compile_run(run, "ckks", tmp_path / "served")
    client = Near(tmp_path / "served")
    found = Demo(run, client).show(6, logits=False, flood=0, quiet=False)
    assert found["agreement"] == 1.0
    _, tests = records(run.experiment.data, run.experiment.model)
    with torch.no_grad():
        expected = trained_model(run)(tests.inputs(torch.arange(6))).double()
    expected -= expected.mean(1, keepdim=True)  # what is common to all changes no answer
    near = 0.1 * float(expected.std())  # of which a square in the ring of 4,096 costs 0.03 to 0.07
    assert np.allclose(client.logits, expected, atol=near)


@pytest.mark.parametrize("make", [patients, sensor, pets, words])
def test_drawn_records_are_such_as_a_model_may_meet(tmp_path, make):
    """Within the bounds of what is real, each as likely to be far from the middle."""
    more = {patients: ["data.target=state"], sensor: WINDOWS}.get(make, [])
    dataset = load(experiment_of(tmp_path, make, "model.name=linear", *more).data)
    drawn = synthetic_inputs(dataset, 400)
    assert drawn.shape == (400, *dataset.shape)
    assert torch.equal(drawn, synthetic_inputs(dataset, 400))
    real = dataset.encoding(torch.from_numpy(dataset.train_x))
    assert drawn.min() >= min(-1.0, float(real.min()))
    assert drawn.max() <= 1
    wide = drawn.flatten(1).abs().amax(0)
    assert (wide >= 0.5 * real.flatten(1).abs().amax(0)).all()


@pytest.mark.parametrize(
    ("make", "settings", "says"),
    [
        (sensor, [*WINDOWS, "model.name=cnn1d"], "layer 2 of 15, GroupNorm cannot be evaluated"),
        (sensor, [*WINDOWS, *CNN1D, "model.pooling=max"], "MaxPool1d cannot .* pooling = 'mean'"),
        (sensor, [*WINDOWS, "model.name=lstm"], "Recurrent cannot .* that of the whole sequence"),
        (pets, [*SQUARE, "model.hidden=[2,2,2,2,2,2,2,2,2]"], "depth of 19 products; .* has 17"),
        (patients, ["data.task=itself", "model.name=autoencoder"], "is a class"),
    ],
)
def test_what_is_no_class_or_no_plane_is_refused(tmp_path, make, settings, says):
    with pytest.raises(ModelError, match=says):
        require_encryptable(experiment_of(tmp_path, make, *settings), "ckks")


def test_other_weights_under_the_runs_name_are_told_by_their_answers(tmp_path, monkeypatch):
    """Which weights were compiled is the service's word; whether they answer alike is measured."""
    run = launch(experiment_of(tmp_path, pets, "model.name=linear"), tmp_path, "run")

    def others(run):
        model = trained_model(run)
        for p in model.parameters():
            p.data.neg_()
        return model

    monkeypatch.setattr("server.inference.program.trained_model", others)
    compile_run(run, "ckks", tmp_path / "served")
    found = Demo(run, Near(tmp_path / "served")).evaluate(6)
    assert found["agreement"] < 0.5
    assert len(found["differing"]) == 6 - round(6 * found["agreement"])
    assert all(one["margin"] > 0 for one in found["differing"])
    assert "differing" not in run.inference["ckks"]  # labels of records stay out of the run
