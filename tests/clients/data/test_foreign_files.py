"""Files of data that others made: headers are held against what is there, before it is read."""

import gzip
import io
import os
import resource
import struct
import zipfile

import numpy as np
import pytest

from clients.data.formats import read_csv, read_folder, read_npz
from clients.data.idx import read_idx
from privacy.errors import DataError

IMAGES = "train-images-idx3-ubyte"


def idx(*shape, dimensions=None, body=b""):
    head = bytes([0, 0, 8, len(shape) if dimensions is None else dimensions])
    return head + struct.pack(f">{len(shape)}I", *shape) + body


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (idx(*[1] * 255), "255 dimensions; images have 3"),
        (idx(dimensions=0, body=b"x"), "0 dimensions"),
        (idx(5, dimensions=3), "cut short within its header"),
        (idx(2**32 - 1, 2**32 - 1, 2**32 - 1), "promises .* more than"),
        (idx(1 << 30, body=b"x"), "1 bytes follow, where 1073741824 were promised"),
        (idx(2, body=b"123"), "more bytes follow, where 2"),
    ],
    ids=["255", "none", "short", "huge", "empty", "long"],
)
def test_an_idx_header_is_held_against_its_file(tmp_path, end, content, told):
    path = tmp_path / f"{IMAGES}{end}"
    path.write_bytes(gzip.compress(content) if end else content)
    with pytest.raises(DataError, match=told):
        read_idx(path)


def bomb(path, header, megabytes):
    """A gzip whose header says little, and of which much comes."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(megabytes):
            file.write(bytes(1 << 20))


@pytest.mark.parametrize("header", [b"not IDX", idx(10, 2, 2)])
def test_a_bomb_is_not_unpacked(tmp_path, header):
    """256 MB of zeros in 1.1 MB: none is kept, since the header has promised none."""
    path = tmp_path / f"{IMAGES}.gz"
    bomb(path, header, 256)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError):
        read_idx(path)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10


def npz(path, header, body=b""):
    with zipfile.ZipFile(path, "w") as out:
        for name in ("train_x", "train_y"):
            array = io.BytesIO()
            np.lib.format.write_array_header_1_0(array, header)
            out.writestr(f"{name}.npy", array.getvalue() + body)


@pytest.mark.parametrize(
    "shape", [(1 << 50,), (1 << 20, 1 << 20), (2,) * 40], ids=["long", "wide", "dimensions"]
)
def test_an_npz_header_is_held_against_its_file(tmp_path, shape):
    npz(tmp_path / "data.npz", {"descr": "|u1", "fortran_order": False, "shape": shape})
    with pytest.raises(DataError, match="its header promises"):
        read_npz(tmp_path / "data.npz")


@pytest.mark.parametrize("name", ["data.npz", "train.csv", IMAGES, f"{IMAGES}.gz"])
def test_a_folder_of_pipes_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="not a regular file"):
        read_folder(tmp_path)


def test_a_device_is_no_table(tmp_path):
    (tmp_path / "train.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        read_csv(tmp_path / "train.csv")
