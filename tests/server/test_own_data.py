"""The README on data and models of one's own: each example runs on small records of its form."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import owned
import pytest

from clients.node import machine
from privacy.authority import make_authority
from privacy.dp.journal import Journal
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.federation.grid import CohortGrid

PAGE = (Path(__file__).parent.parent.parent / "README.md").read_text()
SECTION = PAGE.partition("## Your own data")[2].partition("\n## ")[0]
EXAMPLES = dict(
    zip(
        ("table", "photographs", "sensor"),
        re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL),
        strict=True,
    )
)
(MODEL,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


DEPLOYED = (Path(__file__).parent.parent.parent / "compose" / "README.md").read_text()
DEPLOYED = DEPLOYED.partition("## Any other records")[2].partition("\n## ")[0]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with such records, their schemas and the model."""
    monkeypatch.chdir(tmp_path)
    owned.write_table(tmp_path / "patients.csv", owned.patients(200))
    owned.write_table(tmp_path / "sensor.csv", owned.sensor(persons=6, runs=((1, 200), (2, 200))))
    pictures = {
        f"{label}/{n}.png": owned.picture(n, (9, 9)) for label in ("cat", "dog") for n in range(30)
    }
    owned.write_tree(tmp_path / "photographs", pictures)
    noise = np.random.default_rng(0)
    np.savez(
        tmp_path / "waves.npz", train_x=noise.normal(size=(60, 2, 32)), train_y=noise.random(60)
    )
    (tmp_path / "my_model.py").write_text(MODEL)
    (tmp_path / "patients.schema.toml").write_text(
        'labels = ["well", "ill"]\n[columns.age]\nlow = 0.0\nhigh = 120.0\n'
        '[columns.ward]\nvalues = ["north", "south"]\nmissing = ["?"]\n'
    )
    (tmp_path / "photographs.schema.toml").write_text('labels = ["cat", "dog"]\nsize = [32, 32]\n')
    (tmp_path / "sensor.schema.toml").write_text(
        "labels = [1, 2]\nrate_hz = 50.0\n[columns.x]\nlow = -2.0\nhigh = 2.0\n"
        "[columns.y]\nlow = -2.0\nhigh = 2.0\n"
    )
    return tmp_path


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_example_is_planned_run_and_priced(here, kind, privet):
    (here / "my.toml").write_text(EXAMPLES[kind])
    status, out, err = privet("plan", "my.toml", "--json")
    assert status == 0, err
    assert "epsilon" in json.loads(out)["facts"]
    status, out, err = privet("run", "my.toml", "--runs", str(here / "runs"))
    assert status == 0, err
    run = out.strip()
    status, out, err = privet("show", run, "--json")
    assert status == 0, err
    assert json.loads(out)["epsilon"] <= 8
    if kind == "sensor":
        assert "a person with" in json.dumps(json.loads(out)["warnings"])
    status, out, err = privet("cost", run, "--chip", "stm32h743", "--json")
    assert status == 0, err


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("patients.csv", ["--target", "state"]),
        ("sensor.csv", []),
        ("photographs", []),
        ("waves.npz", ["--task", "number"]),
    ],
)
def test_new_writes_what_plan_and_run_take(here, path, options, privet):
    status, out, err = privet("new", "mine", "--data", path, *options)
    assert status == 0, err
    assert out.split() == ["mine.toml", "mine.schema.toml"]
    assert "from the records" in Path("mine.schema.toml").read_text()
    assert len(Path("mine.toml").read_text().splitlines()) <= 12
    few = ["-s", "federation.rounds=1", "-s", "federation.clients=2"]
    model = ["-s", "model.name=perceptron"]  # a convnet wants larger pictures
    status, out, err = privet("plan", "mine.toml", *few, *model)
    assert status == 0, err
    status, out, err = privet("run", "mine.toml", *few, *model, "--runs", str(here / "runs"))
    assert status == 0, err
    assert ("MAE" if "number" in options else "accuracy") in err
    before = Path("mine.toml").read_text()
    status, _, err = privet("new", "mine", "--data", path)
    assert (status, Path("mine.toml").read_text()) == (2, before)
    assert len(err.splitlines()) == 1


def test_new_of_a_column_without_a_value_and_of_a_person_nobody_names(here, privet):
    rows = ["a,b,label", *(f",{n},{n % 2}" for n in range(20))]
    owned.write_table(here / "t.csv", rows)
    status, _, err = privet("new", "t", "--data", "t.csv")
    assert status == 0, err
    status, _, err = privet("plan", "t.toml")
    assert status == 0, err
    owned.write_tree(here / "words", {f"no_p{n}_{n}.wav": owned.sound([5] * 99) for n in range(3)})
    status, _, err = privet("new", "w", "--data", "words", "--person", "speaker")
    assert status == 2
    assert "--person speaker: names of files tell {label}_{person}_{index}.wav; use one" in err
    assert not (here / "w.toml").exists()


def test_check_tells_what_would_be_read_and_what_is_outside(here, privet):
    status, out, err = privet(
        "data", "check", "patients.csv", "--schema", "patients.schema.toml",
        "-s", "data.target=state", "-s", "data.person=person", "--json",
    )  # fmt: skip
    assert status == 0, err
    facts = json.loads(out)
    assert facts["usable"] is True
    assert facts["persons"].startswith("5, ")
    assert int(facts["ward: missing"]) > 10


@pytest.mark.parametrize(
    ("path", "setting", "needs"),
    [
        ("photographs", "data.target=state", "a table, or arrays, at path"),
        ("patients.csv", "data.pattern={label}.png", "a folder, tar or zip"),
        ("patients.csv", "data.alpha=2.0", "[data] partition = 'dirichlet'"),
    ],
)
def test_check_refuses_what_a_run_would_call_without_effect(here, privet, path, setting, needs):
    schema = f"{path.partition('.')[0]}.schema.toml"
    status, _, err = privet("data", "check", path, "--schema", schema, "-s", setting)
    assert status == 2, err
    assert f"-s {setting}: [data] " in err
    assert f"would change nothing: it needs {needs}" in err
    assert len(err.splitlines()) == 1


def test_a_table_on_devices_of_their_own(here, privet, monkeypatch):
    """The commands of compose/README.md: each owner checks and starts, the server runs."""
    make_authority(here / "keys", ["localhost"], 3)
    check, node, run = (
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", DEPLOYED, re.DOTALL)
        for line in block.splitlines()
    )
    status, _, err = privet(*check[1:])
    assert status == 0, err
    started = []
    monkeypatch.setattr(machine, "run_node", lambda settings: started.append(settings.config))
    for client in range(3):
        owned.write_table(here / "patients.csv", owned.patients(150, seed=client))
        (here / "patients.csv").rename(here / f"patients-{client}.csv")
        for word, to in {
            "--data": f"patients-{client}.csv", "--ledger": f"{client}.jsonl",
            "--client": str(client), "--key": f"keys/node-{client}/node.key",
        }.items():  # fmt: skip
            node[node.index(word) + 1] = to
        status, out, err = privet(*node[1:])
        assert status == 0, err
        assert "records of 4 numbers (table), a model's 2 outputs" in err
        assert "they do not learn: age: clipped" not in err
        assert "ward: missing" in err
        assert "a person with 30 of them is not protected" in err
    make = CohortGrid._context

    def context(self, number):
        made = make(self, number)
        made.node_config.update(started[number - 1])
        return made

    monkeypatch.setattr(CohortGrid, "_context", context)
    owned.write_table(here / "test.csv", owned.patients(40, seed=9))
    (settings,) = re.findall(r"```toml\n(.*?)```", DEPLOYED, re.DOTALL)
    (here / run[2]).write_text(settings)
    assert load_experiment(run[2], run[4::2]).federation.engine == "superlink"
    here_too = ["data.partition=nodes", "training.noise=secure"]
    done = launch(load_experiment(run[2], here_too), here / "runs")
    assert not any(client.failure for r in done.rounds for client in r.clients)
    assert done.rounds[-1].accuracy is not None
    assert done.rounds[-1].epsilon <= 3
    status, out, err = privet("cost", str(done.path), "--chip", "stm32h743", "--json")
    assert status == 0, err
    status, out, err = privet("ledger", "0.jsonl")
    assert status == 0, err
    assert "epsilon covers a record; a person with 30" in out
    assert Journal(here / "0.jsonl").spent.entries == done.ledgers[0].entries


def test_a_file_is_not_split_into_grey_pictures(here, privet):
    (here / "my.toml").write_text(EXAMPLES["table"])
    status, _, err = privet("data", "split", "my.toml", "nodes")
    assert status == 2
    assert "a device takes such a file as it is" in err
    assert not (here / "nodes").exists()


def test_a_node_and_a_schema_that_are_not_told_together(here, privet):
    rest = ["--ledger", "l", "--client", "0", "--of", "1", "--link", "127.0.0.1:9",
            "--epsilon-limit", "1", "--data"]  # fmt: skip
    read = ["-s", "data.target=state"]
    for words, says in {
        ("patients.csv", *read, "--classes", "2"): "--classes: as many as the schema has labels",
        ("photographs", *read): "-s data.target=state: says how a file is read: give its --schema",
        ("sensor.csv", "-s", "data.tarjet=x"): "[data] tarjet: unknown key; did you mean target?",
        ("sensor.csv", "-s", "model.name=x"): "model: unknown key; known: data",
        ("gone.csv", "--schema", "patients.schema.toml", *read): "gone.csv: ",
        ("patients.csv", "--schema", "sensor.schema.toml", *read): "column x is not there",
    }.items():
        status, _, err = privet("node", *rest, *words)
        assert status == 2
        assert says in err
        assert len(err.splitlines()) == 1 + err.count("no --members")
