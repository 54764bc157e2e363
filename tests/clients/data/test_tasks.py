"""clients.data.tasks: a target that is no number is refused in one line, however it was read."""

from collections import Counter

import numpy as np
import owned
import pytest

from clients.data.bounds import Column, Schema
from clients.data.settings import Windows
from clients.data.tasks import numbers_of
from privacy.errors import DataError

SCHEMA = Schema(low=0.0, high=10.0, columns={"a": Column(low=0.0, high=1.0)})


@pytest.mark.parametrize("text", ["n/a", "inf", "-Infinity", "nan", "", "1,5"])
@pytest.mark.parametrize("cut", [False, True], ids=["rows", "windows"])
def test_a_target_of_text_is_refused_in_a_line(tmp_path, text, cut):
    cells = ["5", f'"{text}"']
    rows = ["a,stay", *[f"0.5,{cell}" for cell in cells for _ in range(2)]]
    path = owned.write_table(tmp_path / "t.csv", rows)
    windows = Windows(length=2, step=2) if cut else Windows()
    with pytest.raises(DataError) as refused:
        owned.load_from(path, SCHEMA, task="number", target=("stay",), windows=windows)
    told = str(refused.value)
    assert "\n" not in told
    assert "stay" in told
    assert "must be a" in told
    assert (repr(text) if text else "nothing" if not cut else "''") in told


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_target_of_numbers_is_held_to_the_same(tmp_path, wrong):
    x = np.random.default_rng(0).uniform(0, 1, (4, 2))
    y = np.array([1.0, 2.0, wrong, 3.0])
    np.savez(tmp_path / "t.npz", train_x=x, train_y=y)
    with pytest.raises(DataError, match=r"record 3, label: '(nan|inf)', must be a finite number"):
        owned.load_from(tmp_path / "t.npz", SCHEMA, task="number")
    np.savez(tmp_path / "t.npz", train_x=x, train_y=np.ones((4, 2)))
    with pytest.raises(DataError, match=r"train_y \[4, 2\]: must be a label each"):
        owned.load_from(tmp_path / "t.npz", SCHEMA, task="number")


def test_numbers_lie_between_their_bounds(tmp_path):
    """Those that were read as text, too; what lies outside is cut, and counted."""
    for values in (np.array(["0", "2.5", "1e9"], dtype=object), np.array([0, 2.5, 99])):
        found = numbers_of(tmp_path, "stay", values, SCHEMA, str, counts := Counter())
        assert found.tolist() == [[-1.0], [-0.5], [1.0]]
        assert counts == {"stay: clipped": 1}
