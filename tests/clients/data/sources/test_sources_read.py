"""What is read of each form of records is what was written."""

import csv
import gzip
import io
import zipfile

import numpy as np
import owned
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from clients.data.bounds import Column, Schema
from clients.data.settings import Windows
from clients.data.sources.rows import read_blocks
from privacy.errors import DataError


def slow_row(row):
    """What a model reads of a patient, by hand."""
    dose = row["dose"]
    amount = 0.0 if dose == "NA" else 2 * np.log1p(float(dose)) / np.log1p(1000) - 1
    return [
        float(row["age"]) / 50 - 1,
        amount, float(dose == "0"), float(dose == "NA"),
        float(row["ward"] == "north"), float(row["ward"] == "south"), float(row["ward"] == "?"),
    ]  # fmt: skip


def expected_of(rows):
    return np.array([slow_row(row) for row in csv.DictReader(rows)], dtype=np.float32)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("form", ["csv", "gz", "tsv", "blanks", "quoted", "parquet", "bom"])
def test_a_table_of_any_form_gives_the_same_inputs(tmp_path, form, end):
    rows = owned.patients()
    if form == "gz":
        path = tmp_path / "t.csv.gz"
        path.write_bytes(gzip.compress(end.join(rows).encode()))
    elif form == "parquet":
        path = tmp_path / "t.parquet"
        columns = list(zip(*[row.split(",") for row in rows[1:]], strict=True))
        table = pa.table(dict(zip(rows[0].split(","), map(list, columns), strict=True)))
        pyarrow.parquet.write_table(table, path)
    else:
        written = {
            "csv": rows,
            "tsv": [row.replace(",", "\t") for row in rows],
            "blanks": [row.replace(",", ", ") for row in rows],
            "quoted": [rows[0], *[",".join(f'"{f}"' for f in r.split(",")) for r in rows[1:]]],
            "bom": ["\ufeff" + rows[0], *rows[1:]],
        }[form]
        path = owned.write_table(tmp_path / ("t.tsv" if form == "tsv" else "t.csv"), written, end)
    dataset = owned.load_from(path, owned.PATIENTS, target="state", person="person")
    assert dataset.form.columns == (1, 3, 3)
    assert dataset.form.shape == (7,)
    inputs = dataset.encoding(torch.from_numpy(dataset.train_x))
    assert np.allclose(inputs.numpy(), expected_of(rows), atol=1e-6)
    states = [row["state"] for row in csv.DictReader(rows)]
    assert dataset.train_y.tolist() == [("well", "ill").index(state) for state in states]
    assert dataset.train_person.tolist() == [row["person"] for row in csv.DictReader(rows)]
    assert dataset.names == ("well", "ill")


def test_knots_tell_how_near_a_number_is_to_each(tmp_path):
    rows = ["age,dose,state", "0,0,well", "55,NA,ill", "100,31,ill"]
    columns = {
        "age": Column(low=0.0, high=100.0, knots=5),
        "dose": Column(low=0.0, high=1023.0, log=True, knots=3, missing=("NA",)),
    }
    path = owned.write_table(tmp_path / "t.csv", rows)
    dataset = owned.load_from(path, Schema(labels=("well", "ill"), columns=columns), target="state")
    assert dataset.form.columns == (6, 6)
    inputs = dataset.encoding(torch.from_numpy(dataset.train_x)).numpy()
    expected = [
        [-1, 1, 0, 0, 0, 0, -1, 1, 0, 1, 0, 0],
        [0.1, 0, 0, 0.8, 0.2, 0, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    ]
    np.testing.assert_allclose(inputs, expected, atol=1e-6)


def test_knots_of_arrays_of_windows_are_refused_in_the_same_words(tmp_path):
    bent = Schema(labels=("0", "1"), columns={"x": Column(low=0.0, high=1.0, knots=4)})
    np.savez(tmp_path / "a.npz", train_x=np.zeros((4, 1, 8)), train_y=np.arange(4) % 2)
    with pytest.raises(DataError, match="column x: knots are a table's, windows have none"):
        owned.load_from(tmp_path / "a.npz", bent)


@pytest.mark.parametrize("column", [{"values": ("a", "b")}, {"low": 0.0, "high": 1.0}])
def test_knots_where_they_would_do_nothing_are_refused(tmp_path, column):
    with pytest.raises(Exception, match=r"knots|bounds of a number"):
        owned.load_from(
            owned.write_table(tmp_path / "t.csv", owned.sensor()),
            Schema(columns={"x": Column(**column, knots=4)}, labels=("1", "2"), unlabelled=("-1",)),
            target="label",
            windows=Windows(length=20, step=20),
        )


def test_what_lies_outside_is_clipped_and_counted_and_a_strange_value_is_missing(tmp_path):
    rows = ["age,ward,state", "150,north,well", "-3,east,ill", "50,south,ill"]
    schema = Schema(
        labels=("well", "ill"),
        columns={"age": Column(low=0.0, high=100.0), "ward": Column(values=("north", "south"))},
    )
    path = owned.write_table(tmp_path / "t.csv", rows)
    dataset = owned.load_from(path, schema, target="state")
    inputs = dataset.encoding(torch.from_numpy(dataset.train_x))
    assert inputs.tolist() == [[1, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert dict(dataset.counts) == {"age: clipped": 2, "ward: not among its values": 1}


def test_bounds_come_from_the_schema_and_never_from_the_records(tmp_path):
    """One record more, however far out, changes no other record's inputs."""
    rows = owned.patients()
    few = owned.load_from(
        owned.write_table(tmp_path / "a.csv", rows), owned.PATIENTS, target="state"
    )
    more = [*rows, "p9,999999,999999,south,ill"]
    path = owned.write_table(tmp_path / "b.csv", more)
    many = owned.load_from(path, owned.PATIENTS, target="state")
    assert np.array_equal(few.train_x, many.train_x[:-1], equal_nan=True)


def test_windows_are_cut_within_a_person_and_a_label(tmp_path):
    rows = owned.sensor()
    path = owned.write_table(tmp_path / "t.csv", rows)
    settings = {"target": "label", "person": "person"}
    dataset = owned.load_from(path, owned.SENSOR, windows=Windows(length=20, step=10), **settings)
    values = np.array([row.split(",") for row in rows[1:]], dtype=float)
    found = []
    for person in range(3):
        for begin, samples, label in ((0, 70, 0), (90, 50, 1)):  # the others have no label
            for start in range(0, samples - 20 + 1, 10):
                at = person * 140 + begin + start
                found.append((values[at : at + 20, 2:].T / 2, label, str(person)))
    assert dataset.form.shape == (2, 20)
    assert dataset.form.rate_hz == 50
    assert np.allclose(dataset.train_x, np.stack([f[0] for f in found]), atol=1e-6)
    assert dataset.train_y.tolist() == [f[1] for f in found]
    assert dataset.train_person.tolist() == [f[2] for f in found]
    mixed = owned.load_from(
        path, owned.SENSOR, windows=Windows(length=20, step=20, majority=0.6), **settings
    )
    assert dict(mixed.counts)["windows of mixed labels: left out"] > 0


@pytest.mark.parametrize("place", ["folder", "tar", "zip"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_read_from_folders_of_labels(tmp_path, place, channels):
    files = {
        f"{part}/{label}/{n}.png": owned.picture(n + 10 * (label == "dog"))
        for part, num in (("train", 3), ("test", 2))
        for label in ("cat", "dog")
        for n in range(num)
    }
    if place == "folder":
        path = owned.write_tree(tmp_path / "pets", files)
    elif place == "tar":
        path = owned.write_tar(tmp_path / "pets.tar", files)
    else:
        path = tmp_path / "pets.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    schema = owned.PETS.model_copy(update={"channels": channels})
    dataset = owned.load_from(path, schema)
    assert (len(dataset.train_y), len(dataset.test_y)) == (6, 4)
    names = sorted(files) if place == "folder" else list(files)
    names = [name for name in names if name.startswith("train")]
    for name, x, y in zip(names, dataset.train_x, dataset.train_y, strict=True):
        image = Image.open(io.BytesIO(files[name])).convert("L" if channels == 1 else "RGB")
        pixels = np.asarray(image)
        assert np.array_equal(x, pixels if channels == 1 else pixels.transpose(2, 0, 1))
        assert ("cat", "dog")[y] in name


def test_sounds_are_cut_or_end_in_silence_and_their_paths_tell_who_speaks(tmp_path):
    rng = np.random.default_rng(0)
    samples = {
        f"{word}_{who}_{n}.wav": rng.integers(-9999, 9999, length)
        for word in ("no", "yes")
        for who in ("ann", "bob")
        for n, length in enumerate((100, 400, 900))
    }
    path = owned.write_tree(tmp_path / "w", {k: owned.sound(v) for k, v in samples.items()})
    dataset = owned.load_from(
        path, owned.WORDS, pattern="{label}_{person}_{n}.wav", person="person",
        test={"n": ("0",)},
    )  # fmt: skip
    assert dataset.form.shape == (400,)
    assert dataset.form.kind == "sound"
    assert len(dataset.test_y) == 4
    kept = [name for name in sorted(samples) if not name.endswith("_0.wav")]
    for name, x, y, who in zip(
        kept, dataset.train_x, dataset.train_y, dataset.train_person, strict=True
    ):
        expected = np.zeros(400)
        expected[: len(samples[name])] = samples[name][:400]
        assert np.array_equal(x, expected)
        assert name.startswith(f"{('no', 'yes')[y]}_{who}_")


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "form"),
    [
        ((9, 5), float, "table", (5,)),
        ((9, 2, 7), np.float32, "window", (2, 7)),
        ((9, 6, 6), np.uint8, "picture", (6, 6)),
        ((9, 6, 6, 3), np.uint8, "picture", (3, 6, 6)),
        ((9, 3, 6, 6), np.uint8, "picture", (3, 6, 6)),
        ((9, 1, 6, 6), np.uint8, "picture", (6, 6)),
        ((9, 6, 6, 3), np.float32, "picture", (3, 6, 6)),
        ((9, 1, 6, 6), np.uint16, "picture", (6, 6)),
        ((9, 5, 8, 9), np.int32, "picture", (5, 8, 9)),
        ((9, 5, 8, 9), np.uint8, "picture", (5, 8, 9)),
        ((9, 4), bool, "table", (4,)),
    ],
)
def test_arrays_of_any_shape(tmp_path, shape, dtype, kind, form):
    x = (np.random.default_rng(0).uniform(0, 200, shape)).astype(dtype)
    np.savez(tmp_path / "a.npz", train_x=x, train_y=np.arange(9) % 2)
    schema = Schema(labels=("0", "1"), columns={"all": Column(low=0.0, high=200.0)})
    dataset = owned.load_from(tmp_path / "a.npz", schema)
    assert dataset.form.kind == kind
    assert dataset.form.shape == form
    inputs = dataset.encoding(torch.from_numpy(dataset.train_x)).numpy()
    if kind == "picture" and dtype != np.uint8:
        first = x.transpose(0, 3, 1, 2) if x.shape[3] == 3 else x
        assert np.allclose(inputs.ravel(), first.ravel() / 200, atol=1e-6)
    elif kind == "picture":
        assert 0 <= inputs.min() <= inputs.max() <= 1
    else:
        assert np.allclose(inputs, x / 100 - 1, atol=1e-6)


def test_text_of_a_binary_format_is_looked_at(tmp_path):
    held = pa.array([b"a", b"b", b"\xc5x"])
    texts = pa.Array.from_buffers(pa.string(), 3, held.buffers())
    pyarrow.parquet.write_table(pa.table({"a": texts}), path := tmp_path / "t.parquet")
    with pytest.raises(DataError, match="row 4, column a: is not UTF-8"):
        list(read_blocks(path, ["a"]))
