"""An owner without a test set: each command goes on without one, or says so in one line."""

import json

import numpy as np
import pytest


@pytest.fixture
def few(tmp_path, privet):
    """A run on twelve records, none of them for tests."""
    folder = tmp_path / "records"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.arange(12) % 3, rng.integers(0, 256, (12, 16))])
    np.savetxt(folder / "train.csv", rows, fmt="%d", delimiter=",")
    data = ("-s", "data.name=idx", "-s", f"data.path={folder}", "-s", "federation.clients=2")
    short = ("-s", "federation.rounds=1", "-s", "record.updates=true")
    assert privet("run", "tiny", "--name", "few", *data, *short)[0] == 0
    return "few"


@pytest.mark.parametrize(
    "words", ["show {} --json", "cost {} --chip eyeriss --json", "audit {} --json"]
)
def test_what_needs_no_test_set_goes_on(privet, few, words):
    status, out, _ = privet(*words.format(few).split())
    assert status == 0
    json.loads(out)


def test_the_page_is_written_without_an_accuracy(privet, few, tmp_path):
    assert privet("report", few, "-o", str(tmp_path / "page.html"))[0] == 0
    assert json.loads(privet("show", few, "--json")[1])["accuracy"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("evaluate {}", "no test set to evaluate on"),
        ("attack {}", "0 are in the test set"),
        ("infer {}", "no test set"),
    ],
)
def test_what_needs_one_says_so(privet, few, words, says):
    status, out, err = privet(*words.format(few).split())
    assert (status, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
