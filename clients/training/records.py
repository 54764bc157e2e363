"""Records as a model reads them: pixels, or a fixed transform of them, cached for each data set."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from clients.data.sets import Data, Dataset, cache_folder, load
from clients.models import Model, front_of, name_front
from clients.models.transform import Transform
from clients.seeds import digest
from privacy.files import write_atomically

BLOCK = 1000  # images transformed at a time
TRANSFORM_VERSION = 1  # of all transforms: raise it when one changes, and caches are made anew


@dataclass(frozen=True, eq=False)
class Records:
    """Inputs in a compact type [N, ...], labels int64 [N]."""

    x: Tensor
    y: Tensor
    scale: float = 1.0

    def inputs(self, indices: Tensor) -> Tensor:
        """Inputs of some records, float32 [B, ...]."""
        chosen = self.x[indices].float()
        return chosen.div_(self.scale) if self.scale != 1 else chosen

    def digest(self, indices: Tensor) -> bytes:
        """SHA-256 of some records, in their order."""
        key = digest([indices])
        if key not in self._digests:
            self._digests[key] = digest([self.x[indices], self.y[indices]])
        return self._digests[key]

    @cached_property
    def _digests(self) -> dict[bytes, bytes]:
        return {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record's inputs."""
        return tuple(self.x.shape[1:])

    def __len__(self) -> int:
        return len(self.y)


def records(data: Data, model: Model) -> tuple[Records, Records]:
    """Training and test records of a data set as `model` reads them, once a process."""
    return _records(data.name, data.path, data.crop, data.classes, model)


@lru_cache(maxsize=4)
def _records(
    data_name: str, path: str, crop: int, classes: int, model: Model
) -> tuple[Records, Records]:
    dataset = load(
        Data(name=data_name, path=path, crop=crop, classes=classes)  # type: ignore[arg-type]
    )
    front = front_of(model, dataset.form)
    x = (torch.from_numpy(dataset.train_x), torch.from_numpy(dataset.test_x))
    y = tuple(torch.from_numpy(part).long() for part in (dataset.train_y, dataset.test_y))
    if front is None:
        scale = dataset.scale
    else:
        features, scale = _features(dataset, name_front(model, dataset.form), front), 1.0
        x = (features[: len(y[0])], features[len(y[0]) :])
    return Records(x[0], y[0], scale), Records(x[1], y[1], scale)


def _features(dataset: Dataset, name: str, front: Transform) -> Tensor:
    """The transform of all images, training then test: a memory map of the cached file."""
    file = cache_folder() / f"{name}-{dataset.sha256[:16]}-{TRANSFORM_VERSION}.npy"
    num = len(dataset.train_x) + len(dataset.test_x)
    try:
        cached = np.load(file, mmap_mode="c", allow_pickle=False)
        if len(cached) == num:
            return torch.from_numpy(cached)
    except (OSError, ValueError, EOFError):
        pass  # not there, or not whole: it is only a cache
    images = np.concatenate([dataset.train_x, dataset.test_x])

    def block(start: int) -> Tensor:
        pixels = torch.from_numpy(images[start : start + BLOCK]).float()
        return front(pixels / dataset.scale)

    # One torch thread to a core: faster than many threads in one product, and steady on a busy
    # machine, where those wait for one another.
    with ThreadPoolExecutor(
        os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        features = torch.cat(list(pool.map(block, range(0, num, BLOCK))))
    with write_atomically(file) as out:
        np.save(out, features.numpy())
    return features
