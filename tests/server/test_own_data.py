"""The README on data and models of one's own: each example runs on small records of its form."""

import json
import re
from pathlib import Path

import owned
import pytest

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
    [("patients.csv", ["--target", "state"]), ("sensor.csv", []), ("photographs", [])],
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
    before = Path("mine.toml").read_text()
    status, _, err = privet("new", "mine", "--data", path)
    assert (status, Path("mine.toml").read_text()) == (2, before)
    assert len(err.splitlines()) == 1


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
