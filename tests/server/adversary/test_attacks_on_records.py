"""Attacks on a run whose records are rows of a table: hidden columns, persons, every task."""

import dataclasses

import numpy as np
import owned
import pytest
from restated import require

from attacks.membership.shadows import train_shadows
from attacks.settings import Attack
from server.adversary import adversaries
from server.adversary.replay import replay
from server.adversary.shadows import shadows_of
from server.engines.launch import launch
from server.experiment.loading import load_experiment

SCHEMA = """labels = ["well", "ill"]
low = 0.0
high = 10.0
[columns.age]
low = 0.0
high = 100.0
knots = 4
[columns.dose]
low = 0.0
high = 1000.0
log = true
missing = ["NA"]
[columns.ward]
values = ["north", "south", "west"]
[columns.diet]
values = ["a", "b", "c", "d"]
missing = ["?"]
"""
QUICK = Attack(shadows=4, candidates=200)
LEARN = ["training.learning_rate=0.5", "federation.rounds=10", "training.local_steps=80"]
LEAKS = [*LEARN, "budget.unit=none", "training.sample_rate=0.5"]
DP = ["budget.epsilon=1", "federation.rounds=3", "training.local_steps=2"]


def clinic(num, seed=0, persons=60):
    """Rows in which nothing tells of anything: whoever guesses better has seen them."""
    rng = np.random.default_rng(seed)
    rows = ["part,person,age,dose,ward,diet,state,stay,pain,fever"]
    for n in range(num):
        dose = rng.choice(["NA", "0", f"{rng.integers(1, 1000)}"])
        ward, diet = rng.choice(["north", "south", "west"]), rng.choice(["a", "b", "c", "d", "?"])
        state, flags = rng.choice(["well", "ill"]), rng.integers(0, 2, 2)
        part = "test" if n % 4 == 3 else "train"
        rows.append(
            f"{part},p{n // 4 % persons if part == 'train' else 1000 + n},{rng.integers(0, 100)},"
            f"{dose},{ward},{diet},{state},{rng.uniform(0, 10):.2f},{flags[0]},{flags[1]}"
        )
    return rows


def table_run(tmp_path, runs, *settings, target="state", num=400, name=None):
    path = owned.write_table(tmp_path / "clinic.csv", clinic(num))
    (tmp_path / "clinic.schema.toml").write_text(SCHEMA)
    about = [
        "data.name=file", f"data.path={path}", *[f"data.target={target}"] * bool(target),
        "data.test.part=test", "data.held_out=0.5",
        "data.person=person", "model.hidden=[128]", "federation.clients=1",
    ]  # fmt: skip
    return launch(load_experiment("tiny", [*about, *settings]), runs, name)


def attacked(run):
    return adversaries.attack(run, QUICK, lambda _: None)


@pytest.mark.parametrize("leaks", [True, False], ids=["without a promise", "epsilon 1"])
def test_a_table_gives_its_columns_away_unless_there_is_noise(tmp_path, runs, leaks):
    run = table_run(tmp_path, runs, *(LEAKS if leaks else DP))
    found = attacked(run)
    require(run.path)
    told = found["attributes"]
    assert set(told["columns"]) == {"age", "dose", "ward", "diet"}
    auc = found["final_model"]["auc"]
    inverted = found["inversion"]
    if leaks:
        assert told["members"]["low"] > 0.05
        assert told["of_membership"]["low"] > 0.05
        assert auc["low"] > 0.6
        assert inverted["reconstruction"]["columns"] > 0.95
        assert inverted["p_nearer_than_strangers"] < 0.01
    else:
        assert told["members"]["value"] < 0.05
        assert told["of_membership"]["low"] < 0 < told["of_membership"]["high"]
        assert auc["low"] < 0.5 < auc["high"]
        assert inverted["reconstruction"]["columns"] < inverted["nearest_stranger"]["columns"]
        assert inverted["p_nearer_than_strangers"] > 0.5
    assert "a record is a row of a table" in found["left_out"]["generators"]
    robust = found["robustness"]["as trained"]
    assert robust["pgd 0.1"]["value"] <= robust["clean"]["value"]


TASKS = {"stay": "number", '["pain", "fever"]': "labels", "state": "classes", "": "itself"}


@pytest.mark.parametrize("target", TASKS)
def test_membership_of_records_and_persons_on_every_task(tmp_path, runs, target):
    """Whole persons are held out; the losses of all of a person's records tell who was not."""
    about = ["data.partition=person", f"data.task={TASKS[target]}", *LEAKS]
    run = table_run(tmp_path, runs, *about, target=target, num=240)
    tape = replay(run)
    assert tape.whole
    shadows = shadows_of(run, tape, QUICK, lambda _: None)
    for person in np.unique(tape.person):  # as the run has persons, so have its shadows
        assert len(np.unique(shadows.member[:, tape.person == person], axis=1).T) == 1
    found = adversaries.on_models(tape, shadows, QUICK, ["well", "ill"])
    told, gap = found["final_model"], found["train_test_gap"]
    assert told["auc"]["low"] > 0.6
    persons = told["persons"]
    assert (persons["members"], persons["non_members"]) == (30, 30)
    assert persons["auc"]["value"] > told["auc"]["value"]  # three records tell more than one
    assert persons["auc"]["low"] > 0.65
    assert gap["gap" if TASKS[target] == "classes" else "gap_of_loss"]["low"] > 0
    updates = adversaries.on_updates(tape, QUICK)
    assert updates["secure_sum"]["coefficient"]["auc"]["low"] > 0.6


def test_persons_are_held_against_those_of_the_test_set(tmp_path, runs):
    """Where records of each were held out, and where there is noise, nobody stands out."""
    run = table_run(tmp_path, runs, *DP, num=240)
    tape = replay(run)
    assert not tape.whole
    shadows = shadows_of(run, tape, QUICK, lambda _: None)
    told = adversaries.on_models(tape, shadows, QUICK, ["well", "ill"])["final_model"]["persons"]
    assert told["members"] + told["non_members"] == 120
    assert told["against"].startswith("persons of the test set")
    assert told["auc"]["low"] < 0.5 < told["auc"]["high"]


@pytest.mark.parametrize("target", TASKS)
def test_shadows_of_every_task_are_what_the_runs_own_code_trains(tmp_path, runs, target):
    """On whole batches nothing is left to chance: weights and signals agree."""
    whole = ["training.sample_rate=1.0", "federation.rounds=2", "training.local_steps=3"]
    about = [*whole, "budget.unit=none", f"data.task={TASKS[target]}"]
    tape = replay(table_run(tmp_path, runs, *about, target=target, num=160))
    together = train_shadows(tape, 2, seed=5)
    slow = dataclasses.replace(tape.recipe, plain=False)
    one_by_one = train_shadows(dataclasses.replace(tape, recipe=slow), 2, seed=5)
    assert np.allclose(together.phi, one_by_one.phi, atol=2e-3)
