"""The numbers of a promise: infinite ones as JSON, and a delta that promises nothing."""

import json

import pytest

from server.experiment.loading import load_experiment
from server.experiment.promise import large_delta

NO_NOISE = ("-s", "budget.noise_multiplier=0", "-s", "federation.rounds=1")


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def own(folder, unit="record"):
    """An experiment without an epsilon to keep to."""
    path = folder / "own.toml"
    path.write_text(
        '[model]\nname = "perceptron"\nhidden = [8]\n[training]\nlocal_steps = 1\n'
        f'[federation]\nclients = 3\n[budget]\nunit = "{unit}"\nnoise_multiplier = 0.0\n'
    )
    return str(path)


def test_an_infinite_epsilon_is_json_with_a_word(runs, tmp_path, privet):
    """On stdout, in each file of the run, and in the report."""
    assert privet("run", own(tmp_path), "--name", "a", *NO_NOISE)[0] == 0
    for command in (("show", "a"), ("list",)):
        told = json.loads(privet(*command, "--json")[1], parse_constant=refuse)
        if command[0] == "show":
            assert (told["epsilon"], told["epsilon_is"]) == (None, "infinite")
    for path in (runs / "a").glob("*.json*"):
        for line in [path.read_text()] if path.suffix == ".json" else path.open():
            json.loads(line, parse_constant=refuse)
    status, _, err = privet("audit", "a")
    assert status == 2
    assert "[budget] noise_multiplier = 0: hardly any noise" in err
    page = tmp_path / "report.json"
    assert privet("report", "a", "--format", "json", "-o", str(page))[0] == 0
    found = json.loads(page.read_text(), parse_constant=refuse)["runs"][0]
    assert (found["epsilon"], found["epsilon_is"]) == (None, "infinite")


@pytest.mark.parametrize(
    ("unit", "delta", "num", "warned"),
    [
        ("record", 0.01, 100, True),
        ("record", 0.0099, 100, False),
        ("client", 0.26, 4, True),
        ("client", 1e-5, 4, False),
        ("none", 0.5, 4, False),
        ("record", 0.5, 0, False),
    ],
)
def test_a_delta_of_one_in_n_is_warned_of(unit, delta, num, warned):
    """By name, with n, its unit, and what to set."""
    given = [f"budget.unit={unit}"] + [f"budget.delta={delta}"] * (unit != "none")
    found = large_delta(load_experiment("tiny", given), num)
    assert bool(found) == warned
    for warning in found:
        assert f"n = {num} {'clients' if unit == 'client' else 'records'}" in warning
        assert f"[budget] delta below 1/{num}" in warning


def test_it_is_said_wherever_epsilon_is(runs, privet, tmp_path):
    """n is of the smallest client: 323 records of digits train here, and 0.0031 is 1/322.6."""
    asked = ("-s", "federation.rounds=1")
    assert privet("run", "tiny", "--name", "fine", *asked, "-s", "budget.delta=0.00309")[0] == 0
    err = privet("run", "tiny", "--name", "large", *asked, "-s", "budget.delta=0.0031")[2]
    assert "warning: delta = 0.0031 is no less than 1/n, of n = 323 records" in err
    fine, large = json.loads(privet("list", "--json")[1])["runs"]
    assert "delta" not in fine["epsilon"]
    assert "delta >= 1/n" in large["epsilon"]
    assert json.loads(privet("show", "fine", "--json")[1])["warnings"] == []
    page = tmp_path / "report.html"
    assert privet("report", "large", "-o", str(page))[0] == 0
    assert "is no less than 1/n" in page.read_text()
