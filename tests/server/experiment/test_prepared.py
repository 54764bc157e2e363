"""What a plan calls possible is run: one path decides, and says why not in a line."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict

from server.federation.rounds import _tells

ROUND = ("-s", "federation.rounds=1", "-s", "federation.clients=2")
MODEL = """import math
from torch import nn


def Net(shape, outputs, width=4):
    sides = math.prod(shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(sides, width), nn.Linear(width, outputs))


def Mixes(shape, outputs):
    norm = nn.InstanceNorm1d(1, track_running_stats=True)
    cut = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 64)))
    return nn.Sequential(cut, norm, nn.Flatten(), nn.Linear(64, outputs))
"""
REFUSED = {
    "a net that mixes records": (
        ["model.name=net.py:Mixes"],
        "track_running_stats: what it keeps of the records has no noise; leave it out",
    ),
    "a net that counts": (
        ["model.name=net.py:Mixes", "budget.unit=client"],
        "cannot be summed under .*own GroupNorm",
    ),
    "a layer of nothing": (
        ["model.name=net.py:Net", "model.options={width = 0}"],
        "holds no number; mend it, or .model.options.",
    ),
    "a layer of nothing, adapted": (
        ["model.name=net.py:Net", "model.options={width = 0}", "model.adapt=lora:2"],
        "holds no number; mend it, or .model.options.",
    ),
    "nothing to evaluate on": (
        ["federation.client_evaluation=true", "data.held_out=0.0"],
        "client_evaluation = true: no client keeps a record aside at .data. held_out = 0;",
    ),
    "too few to evaluate on": (
        ["federation.client_evaluation=true", "data.limit=8"],
        "no client keeps a record aside at .data. held_out = 0.1; give a larger",
    ),
    "noise that is over the budget at once": (
        ["budget.noise_multiplier=0.3"],
        "noise_multiplier = 0.3: a round would spend an epsilon of .*, over epsilon = 8;",
    ),
    "a schema for no file": (
        ["data.name=digits", "data.schema=s.toml"],
        "schema = 's.toml': would change nothing: it needs",
    ),
    "windows that were to be turned": (
        ["data.name=file", "data.path=w.npz", "data.schema=w.toml", "training.distortion=0.5"],
        "distortion: turns and shifts pictures, and these records are a window of .9, 3.; use",
    ),
    "no records": (
        ["data.limit=2", "data.partition=shards", "data.shards=9", "seed=3"],
        "client . has no record to train on, of 0; ask for fewer clients, fewer shards",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_plan_refuses_what_a_run_would(runs, tmp_path, monkeypatch, privet, recwarn, kind):
    settings, told = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    x, y = np.zeros((40, 9, 3), np.float32), np.arange(40) % 2
    np.savez(tmp_path / "w.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    (tmp_path / "w.toml").write_text("labels = ['0', '1']\ncolumns.all = {low = 0, high = 1}\n")
    (tmp_path / "e.toml").write_text("model.name = 'linear'\nbudget.epsilon = 8.0\n")
    asked = [word for one in settings for word in ("-s", one)]
    for command in ("plan", "run"):
        status, _, err = privet(command, "e.toml", *ROUND, *asked)
        assert status == 2, err
        assert re.search(told, err), err
        assert len(err.splitlines()) == 1
    assert not recwarn.list
    assert not runs.exists() or not list(runs.iterdir())


def test_a_plan_for_devices_of_their_own(privet):
    """Their records are not here: nobody counts them."""
    at = ("-s", "data.partition=nodes", "-s", "data.nominal_records=200")
    status, out, err = privet("plan", "tiny", *at)
    assert status == 0, err
    assert "4 devices with records of their own, about 200 as they are told" in " ".join(
        out.split()
    )


def test_a_client_that_held_nothing_out_weighs_nothing():
    def reply(num):
        metrics = MetricRecord({"num-examples": num, "loss": 0.0})
        return SimpleNamespace(content=RecordDict({"metrics": metrics}))

    assert [_tells(reply(num)) for num in (0, 3)] == [False, True]
