"""Records as a model reads them: pixels, or a fixed transform of them, cached for each data set."""

import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clients.data.dataset import Dataset
from clients.data.encodings import PLAIN, Encoding
from clients.data.sets import cache_folder, load
from clients.data.settings import Data
from clients.draws import digest
from clients.models import Model, front_of, name_front
from clients.models.transform import Transform
from privacy.files import write_at, write_atomically

BLOCK = 1000  # records transformed, or read, at a time
FEATURES = np.dtype(np.float16)  # of all transforms
TRANSFORM_VERSION = 3  # of all transforms: raise it when one changes, and caches are made anew


@dataclass(frozen=True, eq=False)
class Records:
    """Records in a compact type [N, ...]; labels int64 [N], or targets float32 [N, K]."""

    x: Tensor
    y: Tensor
    encoding: Encoding = PLAIN

    def inputs(self, indices: Tensor) -> Tensor:
        """Inputs of some records, float32 [B, ...]."""
        return self.encoding(self.x[indices])

    def targets(self, indices: Tensor, inputs: Tensor) -> Tensor:
        """What a model is to say of some records: `y`, or their `inputs` themselves."""
        chosen = self.y[indices]
        return chosen if chosen.dim() == 1 or chosen.shape[1] else inputs.flatten(1)

    def digest(self, indices: Tensor) -> bytes:
        """SHA-256 of some records, in their order."""
        key = digest([indices])
        if key not in self._digests:
            parts = (part[some] for part in (self.x, self.y) for some in indices.split(BLOCK))
            self._digests[key] = digest(parts)
        return self._digests[key]

    @cached_property
    def _digests(self) -> dict[bytes, bytes]:
        return {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record's inputs."""
        return tuple(self.encoding(self.x[:0]).shape[1:])

    def __len__(self) -> int:
        return len(self.y)


def records(data: Data, model: Model) -> tuple[Records, Records]:
    """Training and test records of a data set as `model` reads them, once a process."""
    return _records(data.source, model)


@lru_cache(maxsize=4)
def _records(data: Data, model: Model) -> tuple[Records, Records]:
    dataset = load(data)
    front, encoding = front_of(model, dataset.form), dataset.encoding
    x = (torch.from_numpy(dataset.train_x), torch.from_numpy(dataset.test_x))
    if front is not None:
        features = _features(dataset, name_front(model, dataset.form), front)
        x, encoding = (features[: len(x[0])], features[len(x[0]) :]), PLAIN
    y = [
        torch.from_numpy(part).long() if dataset.task == "classes" else torch.from_numpy(part)
        for part in (dataset.train_y, dataset.test_y)
    ]
    return Records(x[0], y[0], encoding), Records(x[1], y[1], encoding)


def _features(dataset: Dataset, name: str, front: Transform) -> Tensor:
    """The transform of all records, training then test: a map of the cached file.

    It is written block by block: neither the records nor their features are ever whole in memory.
    """
    file = cache_folder() / f"{name}-{dataset.sha256[:16]}-{TRANSFORM_VERSION}.npy"
    train, test = (torch.from_numpy(part) for part in (dataset.train_x, dataset.test_x))
    num = len(train) + len(test)
    shape = (num, *front.shape)
    with suppress(OSError, ValueError, EOFError):  # not there, or not whole: it is only a cache
        cached = _mapped(file)
        if cached.shape == shape:
            return cached
    row_bytes = math.prod(front.shape) * FEATURES.itemsize

    def write(start: int) -> None:
        stop, behind = start + BLOCK, max(0, start - len(train))
        block = torch.cat([train[start:stop], test[behind : max(0, stop - len(train))]])
        made = np.ascontiguousarray(front(dataset.encoding(block)), FEATURES)
        write_at(out, made.data, first + start * row_bytes)

    # One torch thread to a core: faster than many threads in one product, and steady on a busy
    # machine, where those wait for one another.
    with (
        write_atomically(file) as out,
        ThreadPoolExecutor(
            os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool,
    ):
        header = {"descr": FEATURES.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        out.flush()
        first = out.tell()
        for _ in pool.map(write, range(0, num, BLOCK)):
            pass
    return _mapped(file)


def _mapped(file: Path) -> Tensor:
    """An array file that is read where it is asked, and never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.load(file, mmap_mode="r", allow_pickle=False))
