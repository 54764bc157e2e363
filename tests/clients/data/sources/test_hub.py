"""Data sets of the hub: a stand-in for Flower Datasets, of which this is what its pages promise."""

import sys
from types import ModuleType

import numpy as np
import owned
import pyarrow as pa
import pyarrow.csv
import pytest

from clients.data.bounds import Column, Schema
from clients.data.files import kind_of
from clients.data.sources import hub
from privacy.errors import DataError


class Value:
    """A column of numbers or text."""


class Image:
    """A column of pictures: as Arrow, their bytes and the path that they had."""


class Audio(Image):
    """The same of sounds."""


class ClassLabel:
    """A column of classes, by their numbers."""

    def __init__(self, names):
        self.names = names


class Split:
    """One split: `datasets.Dataset`. Without `with_format` its pictures would be decoded."""

    def __init__(self, table, features, form=None):
        self.table, self.features, self.form = table, features, form
        self.column_names = table.column_names

    def __len__(self):
        return len(self.table)

    def __getitem__(self, rows):
        assert self.form == "arrow"
        return self.table[rows]

    def with_format(self, form):
        return Split(self.table, self.features, form)

    def select_columns(self, names):
        return Split(
            self.table.select(names), {name: self.features[name] for name in names}, self.form
        )


@pytest.fixture
def upload(monkeypatch):
    """Put a data set of some splits where `hub:NAME` finds it."""
    sets, asked = {}, []

    class FederatedDataset:
        def __init__(self, *, dataset, subset=None, partitioners, shuffle=True, **options):
            assert (partitioners, shuffle) == ({}, False)
            assert options == {"trust_remote_code": False}
            asked.append((dataset, subset))
            self.splits = sets[dataset]

        def load_split(self, split):
            if split not in self.splits:
                raise ValueError(f"The given split: '{split}' is not present in the dataset")
            return self.splits[split]

    module = ModuleType("flwr_datasets")
    module.FederatedDataset = FederatedDataset
    monkeypatch.setitem(sys.modules, "flwr_datasets", module)
    hub._opened.cache_clear()
    owned.load_file.cache_clear()
    yield lambda name, **splits: sets.update({name: splits}) or asked
    hub._opened.cache_clear()
    owned.load_file.cache_clear()


def files(contents, labels, kind):
    """Rows of one file each, and what stands beside it."""
    file = pa.array([{"bytes": content, "path": None} for content in contents])
    whose = pa.array([f"p{n % 3}" for n in range(len(labels))])
    boxes = pa.array([[1, 2]] * len(labels))
    table = pa.table({"image": file, "label": pa.array(labels), "person": whose, "boxes": boxes})
    features = {"image": kind(), "label": ClassLabel(["cat", "dog"]), "person": Value(), "boxes": 0}
    return Split(table, features)


def test_pictures_are_those_of_a_folder(tmp_path, upload):
    pictures = [owned.picture(n) for n in range(8)]
    labels = [n % 2 for n in range(8)]
    upload(
        "me/pets", train=files(pictures, labels, Image), test=files(pictures[:3], [0, 1, -1], Image)
    )
    found = owned.load_from("hub:me/pets", owned.Schema(labels=("cat", "dog"), unlabelled=("-1",)),
                            person="person")  # fmt: skip
    tree = {f"{('cat', 'dog')[n % 2]}/{n}.png": pictures[n] for n in range(8)}
    folder = owned.load_from(owned.write_tree(tmp_path / "pets", tree), owned.PETS)
    order = np.argsort(labels, kind="stable")
    assert (found.train_x[order] == folder.train_x).all()
    assert (found.train_y[order] == folder.train_y).all()
    assert (found.form, found.names, len(found.test_y)) == (folder.form, folder.names, 2)
    assert found.train_person.tolist() == [f"p{n % 3}" for n in range(8)]


def test_a_table_is_that_of_a_file(tmp_path, upload):
    rows = owned.patients(40)
    path = owned.write_table(tmp_path / "t.csv", rows)
    text = dict.fromkeys(rows[0].split(","), pa.string())
    table = pyarrow.csv.read_csv(
        path, convert_options=pyarrow.csv.ConvertOptions(column_types=text)
    )
    states = pa.array([("well", "ill").index(s.as_py()) for s in table.column("state")])
    table = table.set_column(table.column_names.index("state"), "state", states)
    features = {name: Value() for name in table.column_names} | {
        "state": ClassLabel(["well", "ill"])
    }
    asked = upload("patients", train=Split(table, features), late=Split(table[:5], features))
    told = {"target": "state", "person": "person"}
    before = owned.load_from(path, owned.PATIENTS, **told)
    after = owned.load_from(
        "hub:patients:2024", owned.PATIENTS, **told, test_path="hub:patients@late"
    )
    assert after.train_x.tobytes() == before.train_x.tobytes()
    assert after.train_y.tolist() == before.train_y.tolist()
    assert len(after.test_y) == 5
    assert ("patients", "2024") in asked


def test_sounds_are_told_by_their_kind(upload):
    sounds = [owned.sound([n] * 400) for n in range(4)]
    upload("words", train=files(sounds, [0, 1, 0, 1], Audio))
    assert str(kind_of(hub.Path("hub:words"))) == "sounds"
    schema = Schema(labels=("cat", "dog"), rate_hz=8000.0, length_s=0.05)
    assert owned.load_from("hub:words", schema).train_x[:, 0].tolist() == [0, 1, 2, 3]


def test_without_the_extra_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    hub._opened.cache_clear()
    with pytest.raises(DataError, match=r"^hub:mnist: needs flwr-datasets; pip install flwr-d"):
        owned.load_from("hub:mnist", owned.PETS)


@pytest.mark.parametrize(
    ("path", "settings", "told"),
    [
        ("hub:pets@gone", {}, "hub:pets@gone: cannot be had: The given split: 'gone' is not"),
        ("hub:nobody", {}, "hub:nobody: cannot be had"),
        ("hub:pets", {"target": "colour"}, "column colour is not there; it has label, person"),
        ("hub:pets", {}, "hub:pets: row 3: no whole PNG or JPEG"),
        ("hub:bare", {}, "hub:bare: row 2: holds no file; take it out"),
        ("hub:lists", {"target": "boxes"}, "column boxes: holds list"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_row(upload, path, settings, told):
    pictures = [owned.picture(n) for n in range(4)]
    upload("bare", train=files([pictures[0], None], [0, 1], Image))
    pictures[2] = b"no picture"
    upload("pets", train=files(pictures, [0, 1, 0, 1], Image))
    table = pa.table({"age": [1.0, 2.0], "boxes": [[1], [2]]})
    upload("lists", train=Split(table, {"age": Value(), "boxes": 0}))
    schema = Schema(labels=("cat", "dog"), columns={"age": Column(low=0.0, high=9.0)})
    with pytest.raises(DataError) as error:
        owned.load_from(path, schema, **settings)
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1
