"""Bad files: each is refused in one line, with file, place and remedy."""

import gzip

import numpy as np
import owned
import pytest

from clients.data.bounds import Column, Schema
from clients.data.settings import Data, Windows
from privacy.errors import DataError, SettingsError
from privacy.settings import parse

ROWS = owned.patients(6)


def altered(row, column, value):
    """The rows with one value another; `row` as an editor counts."""
    rows = list(ROWS)
    fields = rows[row - 1].split(",")
    fields[column] = value
    rows[row - 1] = ",".join(fields)
    return rows


TABLES = {
    "no header": (ROWS[1:], "person|age"),
    "a header of numbers": (["1,2,3,4,5", "1,2,3,4,5"], "row 1 holds numbers"),
    "a column that is not there": (
        [r.rpartition(",")[0] for r in ROWS],
        "column state is not there",
    ),
    "a column twice": ([ROWS[0].replace("person", "age"), *ROWS[1:]], "column age is there twice"),
    "text in a number": (altered(4, 1, "forty"), r"row 4, column age: 'forty', must be a number"),
    "an empty number": (altered(3, 1, ""), r"row 3, column age: nothing"),
    "a decimal comma": (altered(5, 1, '"3,5"'), r"row 5, column age: .*decimals with a point"),
    "NaN": (altered(2, 1, "nan"), r"row 2, column age: 'nan', must be a finite number"),
    "infinity": (altered(2, 1, "inf"), r"row 2, column age: 'inf', must be a finite number"),
    "a label nobody knows": (altered(3, 4, "dying"), r"row 3, column state: the label 'dying'"),
    "a row too short": ([*ROWS[:3], "p1,3"], r"[Ee]xpected 5 columns, got 2.*mend that row"),
    "a row too long": ([*ROWS[:3], ROWS[3] + ",more"], r"[Ee]xpected 5 columns, got 6"),
    "two separators": (["a,b;c", "1,2;3"], "comma or a semicolon"),
    "nothing but a header": (ROWS[:1], "a header and no row"),
    "nothing at all": ([], "row 1 is empty"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_bad_table_is_refused_by_file_row_and_column(tmp_path, kind):
    rows, told = TABLES[kind]
    path = owned.write_table(tmp_path / "t.csv", rows)
    with pytest.raises(DataError, match=told) as error:
        owned.load_from(path, owned.PATIENTS, target="state", person="person")
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfea\x00,\x00b\x00", "is UTF-16; save it as UTF-8"),
        (b"age,state\n1,caf\xe9\n", "not UTF-8"),
        (b"ag\xe9,state\n1,2\n", "row 1 is not UTF-8"),
        (b"a\x00b\n1\n", "no text"),
    ],
)
def test_other_encodings_are_refused_by_name(tmp_path, content, told):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    schema = Schema(labels=("2",), columns={"age": Column(low=0.0, high=9.0)})
    with pytest.raises(DataError, match=told):
        owned.load_from(path, schema, target="state")


def test_a_gzip_cut_short_is_refused(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress("\n".join(owned.patients(5000)).encode())[:-2000])
    with pytest.raises(DataError, match="cannot be read"):
        owned.load_from(path, owned.PATIENTS, target="state")


GOOD = {f"cat/{n}.png": owned.picture(n) for n in range(3)}
PICTURES = {
    "another size": ({"dog/1.png": owned.picture(1, (9, 8))}, r"dog/1.png: 9 x 8 pixels.*size ="),
    "cut short": ({"dog/1.jpg": owned.picture(1, kind="JPEG")[:-300]}, r"dog/1.jpg: no whole PNG"),
    "no picture": ({"dog/1.png": b"hello"}, r"dog/1.png: no whole PNG or JPEG"),
    "in no folder": ({"stray.png": owned.picture(1)}, r"stray.png is in no folder"),
    "a label nobody knows": ({"cow/1.png": owned.picture(1)}, r"label 'cow'"),
    "sounds among them": ({"dog/1.wav": owned.sound([1, 2])}, "pictures and sounds"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_bad_picture_among_good_ones_is_named(tmp_path, kind):
    more, told = PICTURES[kind]
    path = owned.write_tar(tmp_path / "pets.tar", GOOD | more)
    with pytest.raises(DataError, match=told) as error:
        owned.load_from(path, owned.PETS)
    assert str(path) in str(error.value)


def test_a_picture_that_would_fill_memory_is_refused_by_its_header(tmp_path):
    """30,000 x 30,000 pixels in some hundred bytes: nothing is unpacked."""
    bomb = bytearray(owned.picture())
    bomb[16:24] = (30000).to_bytes(4, "big") * 2
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    path = owned.write_tree(tmp_path / "pets", GOOD | {"dog/1.png": bytes(bomb)})
    with pytest.raises(DataError, match=r"dog/1.png: 900000000 pixels, .* are the most"):
        owned.load_from(path, owned.PETS)


SOUNDS = {
    "stereo": (owned.sound([1] * 800, channels=2), "2 channels, must be 1; mix them down"),
    "44.1 kHz": (owned.sound([1] * 400, 44100), "44100 samples a second"),
    "empty": (owned.sound([]), "holds no sample"),
    "no sound": (b"RIFFxxxx", "no whole WAV or FLAC"),
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_bad_sound_among_good_ones_is_named(tmp_path, kind):
    content, told = SOUNDS[kind]
    files = {"no/1.wav": owned.sound([5] * 400), "yes/2.wav": content}
    path = owned.write_tree(tmp_path / "words", files)
    with pytest.raises(DataError, match=f"yes/2.wav: .*{told}"):
        owned.load_from(path, owned.WORDS)


def test_a_name_from_an_archive_is_neither_a_path_nor_a_word_to_the_terminal(tmp_path):
    path = owned.write_tar(tmp_path / "pets.tar", {"../\x1b[2Jcat/evil.png": b"no"} | GOOD)
    with pytest.raises(DataError, match="no whole PNG") as error:
        owned.load_from(path, owned.PETS)
    assert "\x1b" not in str(error.value)
    assert not list(tmp_path.parent.glob("*evil*"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"windows": Windows(length=500)}, "no window of 500 samples; ask for a shorter length"),
        ({"test": {"person": ("77",)}}, "no record has person = 77"),
        ({"person": "who"}, "column who is not there; .*it has person, label"),
        ({"person": "persom"}, r"column persom is not there; did you mean person\?"),
        ({"task": "labels", "target": ("label", "x")}, "a window has no x to say under task"),
        ({"test": {"person": ("0", "1", "2")}}, r"left to train on; ask for fewer .*\[data\] test"),
        ({"test_share": 0.9, "person": "person"}, "smaller .data. test_share than 0.9"),
    ],
)
def test_settings_that_do_not_fit_the_records_are_refused(tmp_path, settings, told):
    path = owned.write_table(tmp_path / "t.csv", owned.sensor())
    asked = {"target": "label", "windows": Windows(length=10, step=10)} | settings
    with pytest.raises(DataError, match=told):
        owned.load_from(path, owned.SENSOR, **asked)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"columns": {"a": {}}}, "needs low and high"),
        ({"columns": {"a": {"low": 3.0, "high": 1.0}}}, "needs low and high"),
        ({"columns": {"a": {"values": ["x"], "low": 1.0}}}, "which is it"),
        ({"columns": {"a": {"low": 3.0}}}, r"schema.toml: \[columns.a\]: needs low"),
        ({"columns": {"a": 3}}, "columns. a = 3: must be a table"),
        ({"low": 3.0, "high": 1.0}, "schema.toml: low = 3 and high = 1: low must be less"),
        ({"labels": ["a", "a"]}, "one is there twice"),
        ({"labels": ["a"], "names": ["x", "y"]}, "2 for 1 labels"),
        ({"colour": "red"}, "unknown key"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(table, told):
    with pytest.raises(SettingsError, match=told):
        parse(Schema, table, "schema.toml")


def test_arrays_that_are_no_numbers_are_refused(tmp_path):
    x = np.full((4, 3), np.nan)
    np.savez(tmp_path / "a.npz", train_x=x, train_y=np.arange(4) % 2)
    schema = Schema(labels=("0", "1"), columns={"all": Column(low=0.0, high=1.0)})
    with pytest.raises(DataError, match="12 values that are no finite numbers"):
        owned.load_from(tmp_path / "a.npz", schema)


ARRAYS = {
    "a number for labels": ({"train_y": np.int64(1)}, {}, "does not fit train_y"),
    "a number for records": ({"train_x": np.float32(3)}, {}, "does not fit train_y"),
    "records of too many sides": (
        {"train_x": np.zeros((4, 1, 8, 8, 8))},
        {},
        r"train_x is float64 \[4, 1, 8, 8, 8\]; must be numbers",
    ),
    "words for records": ({"train_x": np.array([["a"]] * 4)}, {}, "train_x is <U1"),
    "channels behind sides": (
        {"train_x": np.zeros((4, 9, 9, 4))},
        {},
        r"channels these come first",
    ),
    "labels in columns": (
        {"train_y": np.zeros((4, 2), int)},
        {},
        r"train_y \[4, 2\]: must be a label",
    ),
    "whose they are": ({}, {"person": "who"}, "arrays do not tell who of their records"),
    "tests by a column": ({}, {"test": {"who": ("1",)}}, "arrays do not tell who"),
    "tests of its own": (
        {"test_x": np.zeros((2, 3)), "test_y": np.zeros(2, int)},
        {"test_share": 0.5},
        "test_share = 0.5: the file keeps records for tests itself",
    ),
    "several labels": ({}, {"task": "labels"}, "needs a name for each label"),
    "words for numbers": (
        {"train_y": np.array(["1", "2", "x", "4"])},
        {"task": "number"},
        "record 3, label: 'x', must be a finite number",
    ),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_what_arrays_do_not_tell_is_refused(tmp_path, kind):
    arrays, settings, told = ARRAYS[kind]
    good = {"train_x": np.zeros((4, 3)), "train_y": np.arange(4) % 2}
    np.savez(tmp_path / "a.npz", **(good | arrays))
    bounds = {"all": Column(low=0.0, high=1.0)}
    schema = Schema(labels=("0", "1"), low=0.0, high=9.0, columns=bounds)
    with pytest.raises(DataError, match=told):
        owned.load_from(tmp_path / "a.npz", schema, **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"partition": "dirichlet", "task": "number"},
            "'dirichlet' spreads classes, and task",
        ),
        ({"partition": "shards", "task": "itself"}, "use iid or person"),
        ({"target": ["a", "b"]}, "several columns are for task = 'labels'; task = 'classes' reads"),
        ({"target": ["a", "a"], "task": "labels"}, "a column is there twice"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused(settings, told):
    with pytest.raises(SettingsError, match=told):
        parse(Data, {"name": "file", "path": "t.csv"} | settings, "e.toml")
