"""What a node says before anything is charged: a job that must fail is refused by name, and in no
answer has a record a part. By messages to the ClientApp, as a server sends them."""

import logging
import math

import numpy as np
import pytest
from asked import Device, initial, some, tiny
from flwr.app import ConfigRecord, RecordDict

import clients.node.app


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path, some(200))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"budget": {"clip": 1.4e-45}}, "[budget] clip = 1.4e-45: must be from 1e-06 to 1e+06"),
        (
            {"budget": {"noise_multiplier": 1e-9}},
            "[budget] noise_multiplier = 1e-09: must be 0, or",
        ),
        ({"budget": {"noise_multiplier": None}}, "[budget] noise_multiplier: missing"),
        ({"budget": {"noise_multiplier": 0}}, "[budget] noise_multiplier = 0: this device's owner"),
        ({"training": {"learning_rate": -1.0}}, "[training] learning_rate = -1.0: must be from"),
        ({"training": {"local_steps": 10**12}}, "[training] local_steps = 1000000000000: must be"),
        ({"model": {"hidden": [1 << 16] * 3}}, "weights; a device takes up to 268,435,456"),
        ({"model": {"pool": 3}}, "[model] pool = 3"),
        ({"model": {"name": "convnet"}}, "needs images of at least 20x20"),
        ({"data": {"crop": 4}}, "[data] crop = 4: leaves nothing of 8x8 images"),
        ({"data": {"classes": 4}}, "[data] classes = 4: this node's owner told of 10"),
        ({"data": {"classes": 0}}, "[data] classes = 0: this node's owner told of 10"),
        ({"data": {"classes": 12}}, "message from the server"),  # weights of 10
    ],
    ids=str,
)
def test_a_job_that_must_fail_costs_nothing(device, change, says):
    assert says in device.refuses(tiny(**change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"learning-rate": -1.0}, "learning-rate = -1.0: must be from 1e-30 to 1e+06"),
        ({"learning-rate": math.nan}, "learning-rate = nan"),
        ({"learning-rate": 1e38}, "learning-rate = 1e+38: must be"),
        ({"proximal-mu": 1e20}, "proximal-mu = 1e+20: must be 0, or from"),
        ({"proximal-mu": -1.0}, "proximal-mu = -1.0: must be 0, or from"),
        ({"server-round": -1}, "server-round = -1: must be from 1"),
        ({"server-round": 1.5}, "server-round = 1.5"),
        ({"run": "r" * 10_000}, "run = 'rrr"),
    ],
    ids=str,
)
def test_a_round_out_of_range_costs_nothing(device, change, says):
    reason = device.refuses(**change)
    assert says in reason
    assert len(reason) < 300


@pytest.mark.parametrize("value", [1e30, -1e30, 1.1e6, math.nan, math.inf, -math.inf])
def test_chosen_weights_are_refused_before_the_charge(device, value):
    weights = initial()
    name = list(weights)[-1]
    weights[name] = weights[name].copy()
    weights[name].flat[0] = value
    assert f"{name}: a weight must be from -1e+06 to 1e+06" in device.refuses(weights=weights)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w[:-1],
        lambda w: w.astype(np.float64),
        lambda w: np.asarray(w.tolist(), dtype=np.int64),
    ],
)
def test_weights_of_another_form_are_refused_before_the_charge(device, spoil):
    weights = {name: spoil(w) for name, w in initial().items()}
    assert "message from the server: " in device.refuses(weights=weights)
    assert "other arrays" in device.refuses(weights={})


def test_a_job_within_all_ranges_is_trained_and_charged_once(device):
    reply = device.ask()
    assert not reply.has_error(), reply.error.reason
    assert [line["kind"] for line in device.journal.lines] == ["charge", "release"]
    assert reply.content.metric_records["metrics"]["num-examples"] == 200


PROBES = [
    *({"job": tiny(data={"classes": n}), "weights": initial(data={"classes": n})}
      for n in (2, 5, 9, 10)),
    *({"job": tiny(data={"crop": n})} for n in (1, 3, 9)),
    {"job": tiny(model={"name": "scatter"})},
    {"kind": "evaluate"},
]  # fmt: skip


@pytest.mark.parametrize("probe", PROBES, ids=lambda p: f"{p.get('kind', 'train')}")
def test_other_records_of_the_same_schema_get_the_same_answer(tmp_path, probe):
    """Labels up to 4 or to 9, 50 records or 200: what a server hears without a charge is equal."""
    told = []
    for number, arrays in enumerate((some(50, range(5)), some(200, seed=1))):
        reply = Device(tmp_path / str(number), arrays).ask(**probe)
        answer = reply.error.reason if reply.has_error() else sorted(reply.content)
        told.append((reply.has_error(), answer))
    assert told[0] == told[1]


def change_csv(device):
    (device.folder / "data.npz").unlink()
    (device.folder / "train.csv").write_text("1," + ",".join(["patient-4711"] * 64) + "\n")


def change_labels(device):
    np.savez(device.folder / "data.npz", **some(200) | {"train_y": np.full(200, 47, np.uint8)})


def change_shape(device):
    np.savez(device.folder / "data.npz", train_x=np.zeros((4711, 9, 9), np.uint8),
             train_y=np.zeros(4711, np.uint8))  # fmt: skip


@pytest.mark.parametrize("change", [change_csv, change_labels, change_shape])
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_what_is_wrong_with_records_goes_to_the_nodes_own_log(device, change, kind, caplog):
    change(device)
    del device.config["epsilon-limit"]
    device.config.update({"no-epsilon-limit": True, "allow-unprotected": True})
    with caplog.at_level(logging.ERROR, "privet"):
        assert device.refuses(kind=kind) == "this node's records cannot be used: see its own log"
    assert any(word in caplog.text for word in ("patient-4711", "a label is 47", "(9, 9)"))


UNKNOWN = "this node cannot do what it was asked: see its own log"


def test_an_error_that_nobody_thought_of_tells_nothing(device, monkeypatch, caplog):
    def fails(*_, **__):
        raise RuntimeError("patient-4711 in /home/hospital")

    about = RecordDict({"asked": ConfigRecord({"run": "r"})})
    for name, ask in {
        "load_net": device.ask,
        "identify": lambda: device.say("query", about),
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(clients.node.app, name, fails)
            reason = ask().error.reason
        assert reason == UNKNOWN
    assert "patient-4711" in caplog.text
    assert not device.journal.lines


def test_a_damaged_ledger_is_no_path_for_the_server(device):
    assert not device.ask().has_error()
    device.journal.path.write_bytes(b"")
    for reply in (
        device.ask(),
        device.say("query", RecordDict({"asked": ConfigRecord({"run": "r"})})),
    ):
        assert reply.error.reason == "this node's ledger cannot be used: see its own log"


def test_phases_of_a_sum_and_messages_of_no_form_tell_no_more(device):
    for kind in ("query.keys", "query.shares", "query.unmask", "train", "evaluate"):
        reason = device.say(kind, RecordDict()).error.reason
        assert str(device.folder.parent) not in reason
        assert reason in (
            "no sum was agreed on",
            "this node cannot do what it was asked: see its own log",
        )
