"""A node reads its owner's file as a simulation does, by its owner's word alone, and refuses a job
that does not fit: before anything is charged, in words that depend on no record."""

import json
import logging

import numpy as np
import owned
import pytest
from asked import ROUND, Device, tiny
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.config import parse_config_args

import clients.node.app
from clients.data.bounds import Column, Schema
from clients.data.settings import Data, Windows
from clients.data.told.source import state
from clients.models import sources
from clients.node.holder import WHOLE, Holder
from clients.node.machine import NodeSettings, write_config
from clients.training.job import Job
from clients.training.net import build
from server.experiment.loading import load_experiment
from server.federation.grid import CohortGrid

SIZES = owned.PATIENTS.model_copy(
    update={"columns": {"ward": owned.PATIENTS.columns["ward"]}, "low": 0.0, "high": 100.0}
)
FLAGS = Schema(columns={"x": Column(low=0.0, high=1.0)})
CUT = Windows(length=20, step=10)
SOURCES = {
    "table": ("p.csv", {"schema": owned.PATIENTS, "target": ("state",), "person": "person"}),
    "number": ("p.csv", {"schema": SIZES, "target": ("age",), "task": "number"}),
    "labels": ("f.csv", {"schema": FLAGS, "target": ("a", "b"), "task": "labels"}),
    "itself": ("p.csv", {"schema": owned.PATIENTS, "task": "itself"}),
    "windows": ("s.csv", {
        "schema": owned.SENSOR, "target": ("label",), "person": "person", "windows": CUT}),
    "pictures": ("pets", {"schema": owned.PETS}),
    "sounds": ("words.tar", {"schema": owned.WORDS, "pattern": "{label}_{person}.wav"}),
    "arrays": ("w.npz", {
        "schema": Schema(labels=("0", "1"), columns={"all": Column(low=0.0, high=1.0)})}),
}  # fmt: skip


def write_records(home, seed=0):
    """A file of each kind; the folder that holds them."""
    rng = np.random.default_rng(seed)
    home.mkdir(parents=True)
    owned.write_table(home / "p.csv", owned.patients(60 + seed, seed))
    owned.write_table(home / "s.csv", owned.sensor(3 + seed, seed=seed))
    owned.write_table(home / "f.csv", ["x,a,b", *(f"0.{n},{n % 2},{n // 5}" for n in range(10))])
    pets = {f"{kind}/{n}.png": owned.picture(n + seed) for kind in ("cat", "dog") for n in range(5)}
    owned.write_tree(home / "pets", pets)
    words = {f"{word}_{n}.wav": owned.sound(np.arange(300) + n) for word in ("no", "yes") for n in
             range(4)}  # fmt: skip
    owned.write_tar(home / "words.tar", words)
    np.savez(home / "w.npz", train_x=rng.random((20, 2, 16)), train_y=np.arange(20) % 2)
    return home


def told_of(home, kind, **changes):
    path, settings = SOURCES[kind]
    return state(Data(name="file", path=str(home / path), **settings | changes), 40)


def job_on(told, model=None, **changes):
    """What an honest server asks of such records, with changes to its [data]."""
    public = told.data.public.model_copy(
        update={"partition": "nodes", "nominal_records": 40, "shape": told.record.shape}
    )
    data = json.loads(public.model_dump_json()) | changes
    return tiny(data=data, model=model or {"name": "perceptron", "hidden": [4]})


def weights_of(job, form):
    model = build(Job.from_json(json.dumps(job)).model, form)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def seeded(job):
    return job | {"training": job["training"] | {"noise": "seeded"}}


def sent(reply):
    assert not reply.has_error(), reply.error.reason
    return {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}


def simulated(told, job, weights):
    """A client of a simulation that has all of these records, with the same job."""
    data = told.data.model_copy(update={"partition": "iid", "held_out": 0.0, "nominal_records": 40})
    job = job | {"data": json.loads(data.model_dump_json())}
    grid = CohortGrid(clients.node.app.app, 1, 1)
    arrays = ArrayRecord({name: Array(w) for name, w in weights.items()})
    content = RecordDict(
        {"arrays": arrays, "config": ConfigRecord({**ROUND, "job": json.dumps(job)})}
    )
    (reply,) = grid.send_and_receive([Message(content, 1, "train")])
    return sent(reply)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records") / "here")


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_is_trained_on_as_in_a_simulation(home, tmp_path, kind):
    told = told_of(home, kind)
    device = Device(tmp_path, told)
    device.config["allow-seeded"] = True
    job = seeded(job_on(told))
    weights = weights_of(job, told.record)
    ours, theirs = sent(device.ask(job, weights)), simulated(told, job, weights)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert any((ours[name] != weights[name]).any() for name in weights)
    assert [line["kind"] for line in device.journal.lines] == ["charge", "release"]


MISFITS = {
    "another target": ("table", "target", {"target": ["ward"]}),
    "another task": ("table", "task", {"task": "itself"}),
    "windows of one sample": ("windows", "windows", {"windows": {"length": 1, "step": 1}}),
    "windows that overlap more": ("windows", "windows", {"windows": {"length": 20, "step": 1}}),
    "rows for windows": ("windows", "windows", {"windows": {"length": 0}}),
    "too many classes": ("table", "classes", {"classes": 3}),
    "another shape": ("pictures", "shape", {"shape": [3, 9, 9]}),
    "no shape": ("pictures", "shape", {"shape": []}),
    "no schema": ("table", "schema", {"schema": None}),
    "labels the other way round": ("table", "schema", {"schema": {"labels": ["ill", "well"]}}),
    "another rate": ("sounds", "schema", {"schema": {"rate_hz": 4000.0}}),
    "another bound": ("table", "schema", {"schema": {"columns": {"age": {"high": 99.0}}}}),
    "knots": ("table", "schema", {"schema": {"columns": {"age": {"knots": 3}}}}),
    "another value": ("table", "schema", {"schema": {"columns": {"ward": {"values": ["north"]}}}}),
    "another file's": ("table", "schema", {"schema": {"columns": {"name": {"values": ["Smith"]}}}}),
}


def merged(ours, change):
    if not isinstance(change, dict) or not isinstance(ours, dict):
        return change
    return ours | {key: merged(ours.get(key), value) for key, value in change.items()}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_job_that_does_not_fit_is_refused_free_and_alike_for_all_records(
    home, tmp_path, misfit, caplog
):
    kind, key, change = MISFITS[misfit]
    others = write_records(tmp_path / "others", seed=1)
    reasons = set()
    for name, records in {"here": home, "there": others}.items():
        told = told_of(records, kind)
        device = Device(tmp_path / name, told)
        job = job_on(told)
        job["data"] = merged(job["data"], change)
        weights = weights_of(job, told.record)
        with caplog.at_level(logging.ERROR, "privet"):
            reasons.add(device.refuses(job, weights))
    assert reasons == {
        f"[data] {key}: not what this node's owner told of its records; ask the owner for it"
    }
    assert f"[data] {key}" in caplog.text.partition("a server asks")[0]
    assert "here it is" in caplog.text


def test_records_with_a_schema_are_no_grey_pictures_and_the_other_way_round(home, tmp_path):
    told = told_of(home, "table")
    device = Device(tmp_path, told)
    assert "[data] name = 'idx'" in device.refuses(tiny(data={"name": "idx", "shape": [7]}))


def test_how_a_file_is_read_is_its_owners_word_alone(home, tmp_path):
    """A path, a pattern that never ends, persons, tests: of a server's none is looked at."""
    told = told_of(home, "sounds")
    theirs = {
        "path": "/etc", "test_path": "/etc/passwd", "pattern": "(((a+)+)+)+{label}", "crop": 3,
        "person": "speaker", "test": {"person": ["1"]}, "test_share": 0.5, "limit": 1,
        "windows": {"length": 0, "within": ["label"], "majority": 0.5},
    }  # fmt: skip
    weights, answers = weights_of(job_on(told), told.record), []
    for name, change in {"honest": {}, "other": theirs}.items():
        device = Device(tmp_path / name, told)
        device.config["allow-seeded"] = True
        answers.append(sent(device.ask(seeded(job_on(told, **change)), weights)))
    assert all(np.array_equal(answers[0][name], answers[1][name]) for name in answers[0])


def test_a_job_for_devices_tells_nothing_of_the_servers_own_file(home):
    read = ["data.name=file", f"data.path={home}/words.tar", "data.test_share=0.25"]
    read += ["data.pattern={label}_{person}.wav", "data.person=person", "data.partition=nodes"]
    experiment = load_experiment("tiny", read)
    told = experiment.data.model_copy(update={"schema": owned.WORDS})
    message = experiment.model_copy(update={"data": told}).message
    data = Job.from_json(message).data
    assert (data.schema, data.task) == (owned.WORDS, "classes")
    assert (data.path, data.pattern, data.person, data.test_share) == ("", "", "", 0.0)
    assert not any(word in message for word in (str(home), "{label}", '"person":"person"'))


def test_a_file_that_has_changed_is_for_its_owners_log(home, tmp_path, caplog):
    told = told_of(home, "pictures")
    larger = told.model_copy(update={"record": told.record._replace(shape=(3, 9, 9))})
    device, job = Device(tmp_path, larger), job_on(larger)
    with caplog.at_level(logging.ERROR, "privet"):
        reason = device.refuses(job, weights_of(job, larger.record))
    assert reason == "this node's records cannot be used: see its own log"
    assert "(3, 8, 8)" in caplog.text


def test_the_ledger_says_what_an_epsilon_covers(home, tmp_path):
    told = told_of(home, "windows")
    device, job = Device(tmp_path, told), job_on(told)
    sent(device.ask(job, weights_of(job, told.record)))
    (of,) = device.journal.covered
    assert of.startswith("epsilon covers a window of 0.4 s; a person with 10 of them is not")
    assert "each sample is in 2 windows" in of
    holder = Holder.of(device.grid._context(1))
    holder.charge_share("s", Job.from_json(json.dumps(job)), b"terms")
    assert device.journal.covered == (of, WHOLE)


def test_a_statistic_of_a_number_is_no_accuracy(home, tmp_path):
    told = told_of(home, "number", test_share=0.2)
    device, job = Device(tmp_path, told), job_on(told)
    del device.config["epsilon-limit"]
    device.config.update({"no-epsilon-limit": True, "allow-unprotected": True})
    reply = device.ask(job, weights_of(job, told.record), "evaluate")
    assert not reply.has_error(), reply.error.reason
    metrics = reply.content.metric_records["metrics"]
    assert metrics["num-examples"] == 12
    assert 0 < metrics["loss"] < 2
    assert "accuracy" not in metrics


def test_a_model_from_the_owners_file_reads_the_owners_source(home, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n\ndef Net(shape, classes, width=3):\n"
        "    return nn.Sequential(nn.Conv1d(shape[0], width, 5), nn.Flatten(),\n"
        "                         nn.Linear(width * (shape[1] - 4), classes))\n"
    )
    told = told_of(home, "windows")
    model = {"name": "theirs.py:Net", "sha256": sources.admit(file), "options": {"width": 2}}
    job = job_on(told, model=model)
    weights = weights_of(job, told.record)
    device = Device(tmp_path / "node", told)
    assert "this device runs only if its owner has the same" in device.refuses(job, weights)
    device.config["model"] = str(file)
    assert sent(device.ask(job, weights))["0.weight"].shape == (2, 2, 5)


def test_what_is_told_survives_flowers_config(home, tmp_path):
    """A schema is full of quotes, and a column may be called anything."""
    columns = {'the "ward\'s" \\ ü': Column(low=0.0, high=1.0)}
    told = told_of(home, "table")
    data = told.data.model_copy(update={"schema": Schema(columns=columns, labels=("a=b", "c d"))})
    config = told.model_copy(update={"data": data}).config | {"partition-id": 0}
    path = write_config(tmp_path, NodeSettings("127.0.0.1:1", config))
    assert path.stat().st_mode & 0o077 == 0
    assert parse_config_args([str(path)]) == config
