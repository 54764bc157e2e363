"""A table larger than memory: read in blocks, and kept in a file without a name."""

import os

import numpy as np
import owned
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from clients.data.settings import Data
from clients.data.sources import piles, rows, windows
from clients.data.sources.piles import Pile, taken
from clients.models import Model
from clients.training.records import records
from privacy.errors import DataError

TABLE = {"schema": owned.PATIENTS, "target": ("state",), "person": "person", "test_share": 0.2}
CUT = {
    "schema": owned.SENSOR, "target": ("label",), "person": "person",
    "windows": windows.Windows(length=20, step=10),
}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """Memory and blocks of next to nothing."""

    def shrink():
        owned.load_file.cache_clear()
        monkeypatch.setattr(piles, "MOST_IN_MEMORY_BYTES", 100)
        monkeypatch.setattr(piles, "AT_ONCE", 7)
        monkeypatch.setattr(rows, "BLOCK_BYTES", 200)
        monkeypatch.setattr(rows, "BLOCK_ROWS", 9)
        monkeypatch.setattr(windows, "AT_ONCE", 5)

    return shrink


@pytest.mark.parametrize("kind", ["csv", "parquet", "windows"])
def test_blocks_in_a_file_are_what_would_be_in_memory(tmp_path, small, kind):
    rows = owned.sensor() if kind == "windows" else owned.patients(300)
    path = owned.write_table(tmp_path / "t.csv", rows)
    if kind == "parquet":
        text = dict.fromkeys(rows[0].split(","), pa.string())
        whole = pyarrow.csv.read_csv(
            path, convert_options=pyarrow.csv.ConvertOptions(column_types=text)
        )
        pyarrow.parquet.write_table(whole, path := tmp_path / "t.parquet")
    settings = CUT if kind == "windows" else TABLE
    before = owned.load_from(path, **settings)
    small()
    after = owned.load_from(path, **settings)
    assert isinstance(after.train_x, np.memmap)
    assert not isinstance(before.train_x, np.memmap)
    assert (after.sha256, after.counts) == (before.sha256, before.counts)
    assert (after.train_person == before.train_person).all()
    data = Data(name="file", path=str(path), **settings)
    training, _ = records(data, Model(name="linear"))
    assert training.x.numpy().tobytes() == before.train_x.tobytes()


def test_a_row_of_a_later_block_has_its_number(tmp_path, small):
    rows = owned.patients(300)
    rows[250] = rows[250].replace("p4", "p9").replace(rows[250].split(",")[1], "old", 1)
    path = owned.write_table(tmp_path / "t.csv", rows)
    small()
    with pytest.raises(DataError, match="row 251, column age: 'old', must be a number"):
        owned.load_from(path, **TABLE)


def test_what_was_clipped_is_counted_over_all_blocks(tmp_path, small):
    rows = [row.replace("north", "west") for row in owned.patients(300)]
    path = owned.write_table(tmp_path / "t.csv", rows)
    before = owned.load_from(path, **TABLE).counts
    small()
    assert owned.load_from(path, **TABLE).counts == before
    assert dict(before)["ward: not among its values"] > 50


def test_the_file_has_no_name_and_a_full_disk_is_one_line(tmp_path, small, monkeypatch):
    small()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    pile = Pile()
    pile.add(np.ones((40, 3), np.float32))
    assert os.listdir(tmp_path) == []
    x = pile.whole()
    assert (x.shape, x.sum()) == ((40, 3), 120)
    assert taken(x, np.arange(0)).shape == (0, 3)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"480 bytes of records do not go there: .*TMPDIR=FOLDER"):
        Pile().add(np.ones((40, 3), np.float32))


ARRAYS = {
    "pictures": np.arange(20 * 48, dtype=np.uint8).reshape(20, 4, 12),
    "windows": np.linspace(-1, 2, 20 * 12).reshape(20, 2, 6),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_npy_files_are_mapped_and_are_what_an_npz_would_be(tmp_path, small, kind):
    x, y = ARRAYS[kind], np.arange(20) % 2
    np.savez(tmp_path / "a.npz", train_x=x, train_y=y)
    (tmp_path / "folder").mkdir()
    for name, array in {"train_x": x, "train_y": y}.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    schema = owned.Schema(labels=("0", "1"), columns={"all": owned.Column(low=0.0, high=1.0)})
    before = owned.load_from(tmp_path / "a.npz", schema=schema)
    small()
    after = owned.load_from(tmp_path / "folder", schema=schema, test_share=0.0)
    assert isinstance(after.train_x, np.memmap)
    assert (after.sha256, after.counts) == (before.sha256, before.counts)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "train_y.npy: cannot be read: No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), "train_y.npy: cannot be read: "),
        (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "train_y.npy: cannot be"),
        (lambda path: path.write_bytes(b"no array"), "train_y.npy: cannot be read: "),
        (lambda path: (path.unlink(), os.mkfifo(path)), "train_y.npy: cannot be read: not a reg"),
    ],
)
def test_npy_files_that_will_not_do_are_one_line(tmp_path, spoil, says):
    for name in ("train_x", "train_y"):
        np.save(tmp_path / f"{name}.npy", np.zeros((20, 4, 4), np.uint8))
    spoil(tmp_path / "train_y.npy")
    with pytest.raises(DataError) as error:
        owned.load_from(tmp_path, schema=owned.PETS)
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) == 1
