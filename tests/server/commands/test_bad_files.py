"""Files that are not what their owner thinks, as `privet data check` meets them: one line each,
with file, place and remedy."""

import gzip
import io
import os
import re
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import owned
import pyarrow as pa
import pyarrow.parquet
import pytest

TABLE = (
    'labels = ["well", "ill"]\n[columns.age]\nlow = 0\nhigh = 100\n'
    '[columns.dose]\nlow = 0\nhigh = 1000\nmissing = ["NA"]\n'
    '[columns.ward]\nvalues = ["north", "south"]\nmissing = ["?"]\n'
)
PETS = 'labels = ["cat", "dog"]\n'
WORDS = 'labels = ["no", "yes"]\nrate_hz = 8000\nlength_s = 0.05\n'
NUMBERS = 'labels = ["0", "1"]\n[columns.all]\nlow = 0\nhigh = 1\n'
ROWS = owned.patients(60)
ANIMALS = {f"{label}/{n}.png": owned.picture(n) for label in ("cat", "dog") for n in range(2)}


def altered(row, column, value):
    """The rows with one value another; `row` as an editor counts."""
    fields = ROWS[row - 1].split(",")
    fields[column] = value
    return [*ROWS[: row - 1], ",".join(fields), *ROWS[row:]]


def text(rows, end="\n", encoding="utf-8"):
    return end.join([*rows, ""]).encode(encoding)


def parquet(**columns):
    """A table of one row, with some columns another."""
    told = {"person": "p", "age": 1, "dose": 1, "ward": "north", "state": "ill"} | columns
    pyarrow.parquet.write_table(pa.table({k: [v] for k, v in told.items()}), out := io.BytesIO())
    return out.getvalue()


def large_png():
    """30,000 x 30,000 pixels in some hundred bytes."""
    bomb = bytearray(owned.picture())
    bomb[16:24] = (30000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    return bytes(bomb)


def png_of_text():
    """A picture with 100 MB of text beside it, packed."""
    good, body = owned.picture(), b"zTXta\0\0" + zlib.compress(bytes(100 << 20))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return good[:33] + chunk + good[33:]


def zipped(files, flag=0, method=zipfile.ZIP_STORED):
    """A zip; `flag` is set for each member, as that of encrypted ones is."""
    with zipfile.ZipFile(out := io.BytesIO(), "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    content = bytearray(out.getvalue())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + place] |= flag
    return bytes(content)


def tarred(files, link=""):
    """A tar, with a link in it."""
    with tarfile.open(fileobj=(out := io.BytesIO()), mode="w") as archive:
        for name, content in files.items():
            (member := tarfile.TarInfo(name)).size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return out.getvalue()


def npz(**arrays):
    np.savez(out := io.BytesIO(), **({"train_y": np.arange(8) % 2} | arrays))
    return out.getvalue()


X = np.random.default_rng(0).uniform(0, 1, (8, 3))
FILES = {  # name, content, schema, what is said
    "no header": ("t.csv", text(ROWS[1:]), TABLE, "row 1 names none of age, .*: add a header"),
    "header of numbers": ("t.csv", text(["1,2,3"] * 3), TABLE, "row 1 holds numbers.*add a hea"),
    "header too long": ("t.csv", b"x" * (2 << 20), TABLE, "row 1 has no end in"),
    "header that clears": ("t.csv", text(["a\x1b[2J,b", "1,2"]), TABLE, r"row 1 holds U\+001B"),
    "mixed types": ("t.csv", text(altered(4, 1, "forty")), TABLE, "row 4, column age: 'forty', mu"),
    "NaN": ("t.csv", text(altered(9, 1, "NaN")), TABLE, "row 9, column age: 'NaN', must be a fi"),
    "an empty number": ("t.csv", text(altered(3, 1, "")), TABLE, "row 3, column age: nothing, mu"),
    "unknown label": ("t.csv", text(altered(7, 4, "so")), TABLE, "row 7, column state: the label"),
    "two separators": ("t.csv", text(["a,b;c", "1,2;3"]), TABLE, "row 1: is a comma or a semico"),
    "lines of old": ("t.csv", text(ROWS, "\r"), TABLE, "lines end in CR alone; save them with LF"),
    "UTF-16": ("t.csv", text(ROWS, encoding="utf-16"), TABLE, "is UTF-16; save it as UTF-8"),
    "UTF-16, no mark": ("t.csv", text(ROWS, encoding="utf-16-le"), TABLE, "row 1 holds zero byt"),
    "Latin 1": ("t.csv", text(altered(5, 0, "\xe9"), encoding="latin-1"), TABLE, "row 5 is not U"),
    "names twice": ("t.csv", text([ROWS[0].replace("dose", "age"), *ROWS[1:]]), TABLE, "age is t"),
    "no such column": ("t.csv", text(ROWS), TABLE + "[columns.iq]\nlow=0\nhigh=9\n", "column iq"),
    "a row too short": ("t.csv", text([*ROWS[:3], "p1,3"]), TABLE, "row 4: Expected 5 columns, g"),
    "an open quote": ("t.csv", text([*ROWS[:3], '"' + "x\n" * 9]), TABLE, "row 4: Expected|no end"),
    "nothing": ("t.csv", b"", TABLE, "row 1 is empty; it must name the columns"),
    "a header alone": ("t.csv", text(ROWS[:1]), TABLE, "a header and no row; give the records"),
    "gzip as CSV": ("t.csv", gzip.compress(text(ROWS)), TABLE, "packed by gzip; let its name end"),
    "a spreadsheet": ("t.csv", zipped({"a": b""}), TABLE, "is a zip, or a spreadsheet; save it a"),
    "gzip cut short": ("t.csv.gz", gzip.compress(text(ROWS))[:-99], TABLE, "again, and whole"),
    "no gzip": ("t.csv.gz", b"hello", TABLE, "cannot be read: .*bring it again, and whole"),
    "Parquet cut short": ("t.parquet", parquet()[:-50], TABLE, "bring it again, and whole"),
    "CSV as Parquet": ("t.parquet", text(ROWS), TABLE, "cannot be read: .*bring it again"),
    "Parquet of lists": ("t.parquet", parquet(age=[1]), TABLE, "column age: holds list.*take it"),
    "Parquet of nothing": ("t.parquet", parquet(age=None), TABLE, "row 2, column age: nothing"),
    "cut JPEG": ("dog/1.jpg", owned.picture(1, kind="JPEG")[:-300], PETS, "dog/1.jpg: no whole"),
    "empty picture": ("dog/1.jpg", b"", PETS, "dog/1.jpg: no whole PNG or JPEG .*take it out"),
    "PNG bomb": ("dog/b.png", large_png(), PETS, "dog/b.png: 900000000 pixels, .* take it out"),
    "text bomb": ("dog/b.png", png_of_text(), PETS, "dog/b.png: no whole PNG.*take it out"),
    "another size": ("dog/b.png", owned.picture(1, (9, 8)), PETS, r"b.png: 9 x 8 .*size = \[H, W"),
    "no label's folder": ("dog.png", owned.picture(1), PETS, "dog.png is in no folder of a label"),
    "tar cut short": ("p.tar", tarred(ANIMALS)[:2000], PETS, "p.tar: cannot be read: .*and whole"),
    "tar with a link": ("p.tar", tarred(ANIMALS, "cat/l.png"), PETS, "cat/l.png: is a link, which"),
    "encrypted zip": ("p.zip", zipped(ANIMALS, 1), PETS, "cat/0.png: is encrypted; pack it wit"),
    "zip cut short": ("p.zip", zipped(ANIMALS)[:-40], PETS, "p.zip: cannot be read: .*and whole"),
    "zip bomb": (
        "p.zip", zipped(ANIMALS | {"dog/b.png": bytes(65 << 20)}, method=zipfile.ZIP_DEFLATED),
        PETS, "dog/b.png: 68157440 bytes, .* take it out",
    ),
    "stereo": ("yes/1.wav", owned.sound([1] * 800, channels=2), WORDS, "1.wav: 2 channels, must"),
    "44.1 kHz": ("yes/1.wav", owned.sound([1] * 400, 44100), WORDS, "44100 samples a second.*res"),
    "sound cut short": ("yes/1.wav", owned.sound([1] * 400)[:100], WORDS, "1.wav: .*cut short"),
    "no sample": ("yes/1.wav", owned.sound([]), WORDS, "1.wav: holds no sample; take it out"),
    "objects": ("a.npz", npz(train_x=np.array([{}] * 8)), NUMBERS, "Python objects, .*; save num"),
    "no records": ("a.npz", npz(train_x=np.zeros(())), NUMBERS, r"train_x \[\] does not fit"),
    "labels one-hot": ("a.npz", npz(train_x=X, train_y=np.eye(2)[np.arange(8) % 2]), NUMBERS,
                       r"train_y \[8, 2\]: must be a label each"),
    "array of NaN": ("a.npz", npz(train_x=np.where(X > 0.9, np.nan, X)), NUMBERS, "the first in r"),
    "a test without": ("a.npz", npz(train_x=X, test_x=X), NUMBERS, "has no test_y; give both"),
    "one class": ("a.npz", npz(train_x=X), NUMBERS.replace(', "1"', ""), "label '1' is not in the"),
}  # fmt: skip
BESIDE = {".jpg": ANIMALS, ".png": ANIMALS, ".wav": {"no/0.wav": owned.sound([5] * 400)}}


def check(privet, path):
    table = ["-s", "data.target=state", "-s", "data.person=person"]
    return privet("data", "check", str(path), *(table if path.name.startswith("t.") else ()))


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_file_is_one_line_with_its_place_and_a_remedy(tmp_path, privet, kind):
    name, content, schema, told = FILES[kind]
    beside = BESIDE.get(os.path.splitext(name)[1], {})
    owned.write_tree(tmp_path / "mine", beside | {name: content, "schema.toml": schema.encode()})
    path = tmp_path / "mine" if beside else tmp_path / "mine" / name
    status, out, err = check(privet, path)
    assert (status, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith(f"privet: {path}")
    assert re.search(told, err), err
    assert "\x1b" not in err


@pytest.mark.parametrize("size_bytes", [2 << 30, 70 << 30])
def test_a_sparse_table_of_gigabytes_is_one_line_too(tmp_path, privet, size_bytes):
    path = owned.write_table(tmp_path / "t.csv", ROWS)
    (tmp_path / "schema.toml").write_text(TABLE)
    os.truncate(path, size_bytes)
    status, _, err = check(privet, path)
    assert (status, len(err.splitlines())) == (2, 1)
    told = "row 62 or a later one has no end" if size_bytes < 64 << 30 else "75161927680 bytes, 6"
    assert told in err


def test_a_gzip_of_zeros_without_end_is_not_unpacked(tmp_path, privet):
    with gzip.open(tmp_path / "t.csv.gz", "wb", compresslevel=1) as file:
        file.write(ROWS[0].encode() + b"\n")
        for _ in range(64):
            file.write(b"0" * (1 << 20))
    (tmp_path / "schema.toml").write_text(TABLE)
    status, _, err = check(privet, tmp_path / "t.csv.gz")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "row 2 or a later one has no end" in err


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_waited_for(tmp_path, privet, make):
    owned.write_tree(tmp_path, ANIMALS | {"schema.toml": PETS.encode()})
    make(tmp_path / "cat" / "x.png")
    status, _, err = check(privet, tmp_path)
    assert (status, err) == (2, f"privet: {tmp_path}: cat/x.png: not a regular file; take it out\n")


GOOD = {
    "Windows": text(ROWS, "\r\n"),
    "a mark before": b"\xef\xbb\xbf" + text(ROWS),
    "semicolons": text([row.replace(",", ";") for row in ROWS]),
    "quoted names": text(['"person","age","dose","ward","state"', *ROWS[1:]]),
    "outside": text(altered(3, 1, "400")),
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_only_looks_bad_is_read(tmp_path, privet, kind):
    (tmp_path / "schema.toml").write_text(TABLE)
    (tmp_path / "t.csv").write_bytes(GOOD[kind])
    status, out, err = check(privet, tmp_path / "t.csv")
    assert (status, err) == (0, "")
    assert ("age: clipped" in out) == (kind == "outside")
