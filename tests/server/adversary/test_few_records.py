"""Attacks on a handful of records: a right answer, a part that is left out, or one line."""

import json
from types import SimpleNamespace

import numpy as np
import owned
import pytest
import tomli_w
import torch

from attacks.tape import Nature, Sample
from server.adversary.reconstruction import generators

ROUND = ("-s", "federation.rounds=1")


@pytest.mark.parametrize(
    ("records", "clients", "held_out", "told"),
    [
        (1, 1, 0.0, "1 records were trained on, 0 held out, 360 are in the test set"),
        (6, 2, 0.1, "6 records were trained on, 0 held out"),
        (0, 4, 0.0, "1437 records were trained on, 0 held out"),
    ],
)
def test_too_few_are_refused_in_a_line(runs, privet, records, clients, held_out, told):
    """Before any shadow is trained, with what to change."""
    asked = ["-s", f"federation.clients={clients}", "-s", f"data.held_out={held_out}"]
    asked += ["-s", f"data.limit={records}"] if records else []
    assert privet("run", "tiny", "--name", "a", *ROUND, *asked)[0] == 0
    status, _, err = privet("attack", "a")
    assert status == 2
    assert told in err
    assert "an attack needs 10 of each; run it with more records" in err
    assert not (runs / "a/leakage.json").exists()


def test_one_record_of_a_person_is_too_few_too(runs, privet, tmp_path):
    owned.write_table(tmp_path / "t.csv", owned.patients(2))
    schema = {"labels": ["well", "ill"], "columns": {"age": {"low": 0.0, "high": 100.0}}}
    (tmp_path / "schema.toml").write_text(tomli_w.dumps(schema))
    data = {"target": "state", "person": "person", "test": {"person": ["p1"]}}
    data |= {"held_out": 0.0, "path": str(tmp_path / "t.csv")}
    few = {"model": {"name": "linear"}, "federation": {"clients": 1, "rounds": 1}}
    text = tomli_w.dumps({"data": data, "budget": {"epsilon": 8.0}} | few)
    (tmp_path / "e.toml").write_text(text)
    assert privet("run", str(tmp_path / "e.toml"), "--name", "a")[0] == 0
    status, _, err = privet("attack", "a")
    assert status == 2
    assert "1 records were trained on, 0 held out, 1 are in the test set" in err


def test_clients_of_one_record_are_attacked(runs, privet):
    """In half of the shadows such a client has nothing to train on, and counts nothing there."""
    asked = ("-s", "data.limit=20", "-s", "federation.clients=10", "-s", "data.held_out=0.5")
    assert privet("run", "tiny", "--name", "a", *ROUND, *asked)[0] == 0
    few = ("-s", "attack.reconstruct=false", "-s", "attack.shadows=8")
    status, out, err = privet("attack", "a", "--json", *few)
    assert status == 0, err
    auc = json.loads(out)["all_rounds"]["auc"]
    assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1


def tape(labels, num_classes):
    def sample(y):
        y = torch.tensor(y)
        return Sample(inputs=None, y=y, originals=lambda i: torch.zeros(len(i), 8, 8))

    return SimpleNamespace(
        num_classes=num_classes,
        pool=sample(labels),
        reference=sample(np.tile([0, 1], 20).tolist()),
        nature=Nature("picture", (8, 8)),
        front=None,
    )


@pytest.mark.parametrize(
    ("labels", "num_classes", "why"),
    [
        ([0] * 40, 1, "there is one class"),
        ([0, 0, 0, 1, 1, 1], 2, "class 0 has too few records"),
        ([0, 1] * 40, 2, ""),
    ],
)
def test_generators_need_two_victims_of_a_class(labels, num_classes, why):
    """Or they are left out, and it is said why."""
    found = generators.why_not(tape(labels, num_classes), 0, [str(c) for c in range(num_classes)])
    assert found.startswith(why)
    assert bool(found) == bool(why)
