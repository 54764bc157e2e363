"""What a run reaches on its test set, by class, against scikit-learn; and with what intervals."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import owned
import pytest
from sklearn import metrics

from clients.data.bounds import Schema
from clients.data.settings import Data
from privacy.documents import from_json, to_json
from server.run import merit, resampling
from server.run.figures import Answers, figures_of, log_odds

HOSTILE = "</td><script>hit</script>\x1b[31m\n" + "x" * 5000


def outputs_of(rng, y, num, sure=1.0):
    outputs = rng.normal(size=(len(y), num)).astype(np.float32).round(1)  # with ties
    outputs[np.arange(len(y)), y] += sure
    return outputs


def told(answers, num, data=None, person=None, names=()):
    dataset = SimpleNamespace(names=names, num_classes=num, test_person=person)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = merit.merit_of(answers, dataset, data or Data(), 3)
    return from_json(to_json(found))


def value(found, name):
    return found["figures"][name]["value"]


@pytest.mark.parametrize(("num", "size"), [(2, 300), (7, 900), (40, 3000)])
def test_classes_are_scikit_learns(num, size):
    rng = np.random.default_rng(num)
    y = rng.integers(0, num, size)
    outputs = outputs_of(rng, y, num)
    said = outputs.argmax(1)
    found = told(Answers.of("classes", outputs, y), num)
    assert value(found, "accuracy") == pytest.approx(metrics.accuracy_score(y, said))
    balanced = metrics.balanced_accuracy_score(y, said)
    assert value(found, "balanced accuracy") == pytest.approx(balanced)
    assert value(found, "macro F1") == pytest.approx(metrics.f1_score(y, said, average="macro"))
    odds = log_odds(outputs)
    each = [metrics.roc_auc_score(y == c, odds[:, c]) for c in range(num)]
    assert value(found, "AUROC") == pytest.approx(np.mean(each))
    rows = found["classes"]
    assert [row["AUROC"]["value"] for row in rows] == pytest.approx(each)
    expected = metrics.precision_recall_fscore_support(y, said)
    for name, values in zip(("precision", "recall", "F1"), expected[:3], strict=True):
        assert [row[name]["value"] for row in rows] == pytest.approx(values)
    assert [row["records"] for row in rows] == expected[3].tolist()
    assert found["matrix"] == metrics.confusion_matrix(y, said).tolist()
    wrong = metrics.confusion_matrix(y, said) * (1 - np.eye(num, dtype=int))
    most = found["confused"][0]
    assert most["records"] == wrong.max() == wrong[int(most["is"]), int(most["taken_for"])]
    if num == 2:
        ap = metrics.average_precision_score(y, odds[:, 1])
        assert value(found, "average precision") == pytest.approx(ap)


def test_labels_and_numbers_are_scikit_learns():
    rng = np.random.default_rng(0)
    y = (rng.random((500, 3)) < [0.1, 0.5, 0.9]).astype(np.float32)
    outputs = (rng.normal(size=(500, 3)) + y).astype(np.float32).round(1)
    found = told(Answers.of("labels", outputs, y), 3, names=("wheeze", "cough", "fever"))
    aucs = [metrics.roc_auc_score(y[:, k], outputs[:, k]) for k in range(3)]
    precisions = [metrics.average_precision_score(y[:, k], outputs[:, k]) for k in range(3)]
    assert [row["AUROC"]["value"] for row in found["classes"]] == pytest.approx(aucs)
    told_precisions = [row["average precision"]["value"] for row in found["classes"]]
    assert told_precisions == pytest.approx(precisions)
    assert [row["name"] for row in found["classes"]] == ["wheeze", "cough", "fever"]
    assert value(found, "mAP") == pytest.approx(np.mean(precisions))
    assert value(found, "AUROC") == pytest.approx(np.mean(aucs))
    assert value(found, "label accuracy") == pytest.approx(((outputs > 0) == y).mean())

    y = rng.uniform(-1, 1, (500, 1)).astype(np.float32)
    outputs = y + rng.normal(0, 0.1, (500, 1)).astype(np.float32)
    schema = Schema(low=40.0, high=200.0, unit="kg")
    data = Data(name="file", path="x", task="number", target=["mass"], schema=schema)
    found = told(Answers.of("number", outputs, y), 1, data)
    true, said = (120 + 80 * x for x in (y, outputs))  # in kilograms
    error = metrics.mean_absolute_error(true, said)
    assert value(found, "MAE") == pytest.approx(error, rel=1e-5)
    assert value(found, "RMSE") ** 2 == pytest.approx(metrics.mean_squared_error(true, said), 1e-5)
    assert value(found, "R2") == pytest.approx(metrics.r2_score(true, said), 1e-5)
    assert found["unit"] == "kg"
    figure = found["figures"]["MAE"]
    assert figure["high"] - figure["low"] == pytest.approx(
        3.92 * np.abs(true - said).std() / 500**0.5, rel=0.15
    )

    outputs, y = rng.normal(size=(2, 200, 6)).astype(np.float32)
    found = told(Answers.of("itself", outputs, y), 6)
    assert value(found, "RMSE") ** 2 == pytest.approx(metrics.mean_squared_error(y, outputs))


def test_an_interval_is_that_of_a_bootstrap_one_by_one():
    """Drawn by the book, record by record; scores are more than there are bins."""
    rng = np.random.default_rng(1)
    y = (rng.random(900) < 0.2).astype(int)
    outputs = rng.normal(size=(900, 2)).astype(np.float32)
    outputs[np.arange(900), y] += 1
    answers = Answers.of("classes", outputs, y)
    found = told(answers, 2)["figures"]
    drawn = []
    for _ in range(600):
        i = rng.integers(0, 900, 900)
        drawn.append(figures_of(Answers.of("classes", outputs[i], y[i]), 2))
    for name, figure in found.items():
        low, high = np.quantile([one[name] for one in drawn], [0.025, 0.975])
        width = high - low
        assert figure["low"] == pytest.approx(low, abs=0.15 * width), name
        assert figure["high"] == pytest.approx(high, abs=0.15 * width), name


def test_of_persons_whole_persons_are_drawn():
    """Who answers all alike tells one thing, not as many as there are records."""
    rng = np.random.default_rng(2)
    person = np.repeat([f"p{n}" for n in range(40)], 50)
    y = rng.integers(0, 2, 2000)
    right = np.repeat(rng.random(40) < 0.7, 50)
    said = np.where(right, y, 1 - y)
    outputs = np.eye(2, dtype=np.float32)[said]
    of_records = told(Answers.of("classes", outputs, y), 2)
    of_persons = told(Answers.of("classes", outputs, y), 2, person=person)
    assert of_records["resampled"]["of"] == "records"
    assert of_records["resampled"]["units"] == 2000
    assert of_persons["resampled"]["of"] == "persons"
    assert of_persons["resampled"]["units"] == 40
    widths = [f["figures"]["accuracy"]["high"] - f["figures"]["accuracy"]["low"] for f in
              (of_records, of_persons)]  # fmt: skip
    assert widths[1] / widths[0] == pytest.approx(50**0.5, rel=0.15)


def test_many_records_in_groups_have_the_interval_of_each_by_itself(monkeypatch):
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 20_000)
    answers = Answers.of("classes", outputs_of(rng, y, 3), y)
    grouped = told(answers, 3)["figures"]["accuracy"]
    share = grouped["value"]
    width = 3.92 * (share * (1 - share) / 20_000) ** 0.5
    assert grouped["high"] - grouped["low"] == pytest.approx(width, rel=0.12)
    assert resampling.Resamples.draw(20_000).times.shape == (1000, resampling.GROUPS)
    assert told(answers, 3) == told(answers, 3)


def test_of_very_many_classes_the_counts_are_those_of_few(monkeypatch):
    """Blocks of classes and tables that are nearly empty, against one table."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 300, 2000)
    outputs = np.zeros((2000, 300), np.float32)
    outputs[np.arange(2000), np.where(rng.random(2000) < 0.6, y, rng.integers(0, 300, 2000))] = 1
    answers = Answers.of("classes", outputs, y)
    assert answers.outputs.shape[1] == 0  # too many to rank
    whole = told(answers, 300)
    assert "matrix" not in whole
    assert len(whole["confused"]) == merit.MOST_PAIRS
    monkeypatch.setattr(merit, "BLOCK", 7)
    monkeypatch.setattr(resampling, "SPARSE", 0)
    dense = told(answers, 300)
    for name, figure in whole["figures"].items():
        assert dense["figures"][name] == pytest.approx(figure, rel=1e-5)
    monkeypatch.setattr(merit, "MOST_LISTED", 5)
    listed = told(answers, 300)["classes"]
    most = np.sort(np.bincount(y))[::-1][:5]
    assert sorted((row["records"] for row in listed), reverse=True) == most.tolist()


@pytest.mark.parametrize("task", ["classes", "labels", "number", "itself"])
def test_one_record_one_class_and_numbers_that_are_none(task):
    """Nothing is drawn of one record; of a model that diverged nothing is known."""
    y = {"classes": np.zeros(1, int), "labels": np.ones((1, 2), np.float32)}.get(
        task, np.ones((1, 2 if task == "itself" else 1), np.float32)
    )
    outputs = np.ones((1, 1 if task == "number" else 2), np.float32)
    found = told(Answers.of(task, outputs, y), outputs.shape[1])
    for figure in found["figures"].values():
        assert figure is None or figure["low"] is figure["high"] is None
    several, broken = np.repeat(y, 30, 0), np.full((30, outputs.shape[1]), np.nan, np.float32)
    told(Answers.of(task, broken, several), outputs.shape[1])


@pytest.fixture
def table(tmp_path):
    rng, rows = np.random.default_rng(0), ["person,age,state,mass"]
    for n in range(240):
        age = rng.integers(0, 100)
        rows.append(f"p{n % 12},{age},{'ill' if age > 50 else 'well'},{40 + age}")
    return owned.write_table(tmp_path / "t.csv", rows)


SETTINGS = (
    "data.name=file", "data.test_share=0.4", "federation.rounds=1", "federation.clients=2",
    "model.name=perceptron", "model.hidden=[8]", "budget.unit=none", "data.person=person",
)  # fmt: skip


def write_schema(folder, **more):
    labels = more.pop("labels", ["well", "ill"])
    text = f"labels = {json.dumps(labels)}\n"
    text += "".join(f"{key} = {json.dumps(told)}\n" for key, told in more.items())
    (folder / "s.toml").write_text(text + "[columns.age]\nlow = 0.0\nhigh = 100.0\n")
    return folder / "s.toml"


def run_of(privet, table, schema, *more):
    settings = (*SETTINGS, f"data.path={table}", f"data.schema={schema}", *more)
    status, out, err = privet("run", "tiny", *(x for s in settings for x in ("-s", s)))
    assert status == 0, err
    return out.strip()


def test_a_run_keeps_what_it_reached_and_evaluate_tells_the_same(privet, table, tmp_path):
    run = run_of(privet, table, write_schema(tmp_path), 'data.target=["state"]')
    kept = from_json(Path(run, "test.json").read_text())
    assert kept["resampled"]["of"] == "persons"
    assert kept["resampled"]["units"] == 5  # 40 % of 12
    assert [row["name"] for row in kept["classes"]] == ["well", "ill"]
    status, out, err = privet("evaluate", run, "--json")
    assert status == 0, err
    shown = json.loads(out)
    assert {key: shown[key] for key in kept} == kept
    assert shown["accuracy"] == kept["figures"]["accuracy"]["value"]
    status, out, err = privet("evaluate", run)
    assert status == 0, err
    assert out.splitlines()[0] == f"{shown['accuracy']:.4%}"
    assert "1,000 resamples of 5 persons" in out
    assert "balanced accuracy" in out
    assert "ill" in out


def test_evaluate_brings_an_older_run_its_figures(privet, table, tmp_path):
    state = ('data.target=["state"]', "arithmetic.name=fixed")
    run = run_of(privet, table, write_schema(tmp_path), *state)
    kept = Path(run, "test.json")
    kept.unlink()
    assert privet("evaluate", run, "-s", "arithmetic.fault_rate=0.01")[0] == 0
    assert not kept.exists()  # of other arithmetic, not the run's
    assert privet("evaluate", run)[0] == 0
    assert from_json(kept.read_text())["round"] == 1


def test_a_number_is_told_in_the_unit_of_its_target(privet, table, tmp_path):
    schema = write_schema(tmp_path, low=40.0, high=140.0, unit="kg")
    run = run_of(privet, table, schema, "data.task=number", 'data.target=["mass"]')
    rounds = json.loads(Path(run, "rounds.jsonl").read_text().splitlines()[-1])
    status, out, err = privet("evaluate", run, "--json")
    assert status == 0, err
    shown = json.loads(out)["figures"]["MAE"]["value"]
    assert shown == pytest.approx(rounds["figures"]["MAE"])
    assert 0.5 < shown < 100  # kilograms, and no share of the range
    assert " kg" in privet("evaluate", run)[1]


def test_a_hostile_name_of_a_class_is_only_shown(privet, table, tmp_path):
    schema = write_schema(tmp_path, names=[HOSTILE, HOSTILE + "b"])
    run = run_of(privet, table, schema, 'data.target=["state"]')
    status, out, err = privet("evaluate", run)
    assert status == 0, err
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) < 250
    assert "xxb" in out  # what tells the one from the other
    names = [row["name"] for row in json.loads(privet("evaluate", run, "--json")[1])["classes"]]
    assert names == [HOSTILE, HOSTILE + "b"]  # programs get all of it
