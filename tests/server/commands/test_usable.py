"""What `privet data check` calls usable trains, attacks and prices, without an exception."""

import json

import numpy as np
import pytest

DRAW = np.random.default_rng(0)
RECORDS, STRANGERS = 120, 40


def write(folder, shape, train, test):
    """Noise, with labels that come again and again."""
    arrays = {}
    for part, num, labels in (("train", RECORDS, train), ("test", STRANGERS, test)):
        if labels:
            arrays[f"{part}_x"] = DRAW.integers(0, 256, (num, *shape), dtype=np.uint8)
            arrays[f"{part}_y"] = np.resize(labels, num).astype(np.uint8)
    folder.mkdir()
    np.savez(folder / "data.npz", **arrays)


@pytest.mark.parametrize(
    ("shape", "train", "test", "classes"),
    [
        ((4, 4), [0, 1, 2], [3, 4], 0),  # classes that no client has
        ((4, 4), [1, 2, 3], [1, 2, 3], 4),  # none of class 0, as somebody said
        ((4, 4), [0], [0], 2),
        ((4, 4), [3], [3], 7),
        ((1, 9), [0, 1], [0, 1], 0),  # features rather than a picture
        ((1, 1), [0, 1], [0, 1], 0),
        ((4, 4), [0, 1], [], 0),
        ((4, 4), [0, 255], [255], 256),
    ],
)
def test_usable_is_usable_for_every_command(tmp_path, privet, shape, train, test, classes):
    write(tmp_path / "mine", shape, train, test)
    told = ["-s", "data.name=idx", "-s", f"data.path={tmp_path / 'mine'}"]
    told += ["-s", f"data.classes={classes}"] if classes else []
    checked = privet("data", "check", str(tmp_path / "mine"), "--classes", str(classes), "--json")
    assert checked[0] == 0
    facts = json.loads(checked[1])
    assert facts["classes"] == classes or max(train + test) + 1 == facts["classes"]
    few = ["-s", "federation.clients=2", "-s", "federation.rounds=1", "-s", "record.updates=true"]
    assert privet("run", "tiny", "--name", "mine", *told, *few)[0] == 0
    needs_strangers = {"evaluate": [], "attack": ["-s", "attack.shadows=4"]}
    for command, more in {"show": [], "cost": ["--chip", "eyeriss"], **needs_strangers}.items():
        status, out, err = privet(command, "mine", "--json", *more)
        if command in needs_strangers and not test:
            assert (status, out, len(err.splitlines())) == (2, "", 1), command
        else:
            assert status == 0, err
            json.loads(out)
    assert privet("report", "mine", "-o", str(tmp_path / "page.html"))[0] == 0


def test_a_folder_is_not_read_under_another_data_sets_name(tmp_path, privet):
    """It would be scaled as digits are, 0 to 16, and reported as digits."""
    write(tmp_path / "mine", (8, 8), [0, 1], [0, 1])
    status, out, err = privet("run", "tiny", "-s", f"data.path={tmp_path / 'mine'}")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "say -s data.name=idx" in err


def test_records_may_lie_where_the_command_is_given(tmp_path, privet, monkeypatch):
    """`.` is a path without a name."""
    write(tmp_path / "mine", (4, 4), [0, 1], [0, 1])
    monkeypatch.chdir(tmp_path / "mine")
    few = ["-s", "federation.clients=2", "-s", "federation.rounds=1", "--name", "a"]
    for path in (".", "./", "../mine"):
        status, out, err = privet("run", "tiny", "-s", f"data.path={path}", *few)
        assert (status, out, len(err.splitlines())) == (2, "", 1), path
        assert "say -s data.name=idx" in err
    assert privet("run", "tiny", "-s", "data.name=idx", "-s", "data.path=.", *few)[0] == 0
