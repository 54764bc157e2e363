"""A run and the records it began with: one check for every command that reads them."""

import json

import numpy as np
import pytest

from clients.data.sets import _load

EASY = ["-s", "model.activation=square", "-s", "model.hidden=[8]", "-s", "federation.rounds=1"]


@pytest.fixture
def folder(tmp_path):
    """Twelve-pixel records of three classes."""
    rng, arrays = np.random.default_rng(11), {}
    for part, num in (("train", 120), ("test", 30)):
        arrays[f"{part}_y"] = np.arange(num, dtype=np.uint8) % 3
        noise = rng.integers(0, 60, (num, 4, 4), dtype=np.uint8)
        arrays[f"{part}_x"] = noise + 60 * arrays[f"{part}_y"][:, None, None]
    path = tmp_path / "records" / "data.npz"
    path.parent.mkdir()
    np.savez(path, **arrays)
    return path


def reorder(path):
    """The same records, the last first: another data set."""
    with np.load(path) as held:
        arrays = {name: held[name][::-1].copy() for name in held}
    np.savez(path, **arrays)
    _load.cache_clear()


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate"], ["attack"], ["audit"], ["infer", "--images", "1"], ["cost"],
        ["resume"], ["serve", "--port", "0"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_after_its_files_were_reordered_no_command_reads_them(privet, runs, folder, command):
    where = ["-s", "data.name=idx", "-s", f"data.path={folder.parent}"]
    assert privet("run", "tiny", *where, *EASY, "--name", "mine")[0] == 0
    told = json.loads(privet("evaluate", "mine", "--json")[1])
    assert 0 <= told["accuracy"] <= 1
    reorder(folder)
    name, *options = command
    status, out, err = privet(name, "mine", *options)
    assert (status, out) == (2, "")
    assert "the run began with" in err
    assert "bring those data back" in err
    assert len(err.splitlines()) == 1
