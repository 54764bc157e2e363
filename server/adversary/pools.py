"""Data set -> pools: its records, what they are and whose, in the words of the adversary."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.membership.persons import LEAST
from attacks.tape import ABSENT, Bools, Column, Nature, Sample
from clients.data.dataset import Dataset
from clients.data.encodings import Columns
from clients.training.losses import LOSSES
from clients.training.records import Records


def sample_of(source: Records, indices: Tensor, dataset: Dataset, compact: NDArray) -> Sample:
    """Some records, as a model reads them and as they were."""
    whole = torch.from_numpy(compact)
    return Sample(
        inputs=lambda i: source.inputs(indices[i]),
        y=source.y[indices],
        originals=lambda i: dataset.encoding(whole[indices[i]]),
        loss=LOSSES[dataset.task],
        task=dataset.task,
    )


def nature_of(dataset: Dataset) -> Nature:
    """What a record of it is."""
    low = 0.0 if dataset.kind == "picture" else -1.0
    if not isinstance(dataset.encoding, Columns):
        return Nature(dataset.kind, dataset.shape, low)
    starts = np.cumsum([0, *dataset.columns])
    columns = []
    told = dataset.encoding.schema.columns.items()
    for (name, column), start, width in zip(told, starts, dataset.columns, strict=False):
        if column.values:
            columns.append(Column(name, int(start), width, values=width))
            continue
        flags = (low,) * column.log + (ABSENT,) * bool(column.missing)
        columns.append(Column(name, int(start), width, flags=flags, knots=column.knots))
    return Nature(dataset.kind, dataset.shape, low, columns=tuple(columns))


def persons_of(
    dataset: Dataset, pool: NDArray
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Whose the pool's records are, and whose the test set's; None where nobody says."""
    if dataset.train_person is None:
        return None, None
    inside = dataset.train_person[pool].astype(str)
    outside = np.empty(0, str) if dataset.test_person is None else dataset.test_person.astype(str)
    names = np.unique(np.concatenate([inside, outside]))
    return np.searchsorted(names, inside), np.searchsorted(names, outside)


def held_whole(person: NDArray | None, held_out: Bools) -> bool:
    """Were persons held out whole, enough for a figure, and few in part?"""
    if person is None:
        return False
    _, back = np.unique(person, return_inverse=True)
    trained_on, kept = np.bincount(back, ~held_out), np.bincount(back, held_out)
    whole, mixed = trained_on == 0, (trained_on > 0) & (kept > 0)
    return int(whole.sum()) >= max(LEAST, int(mixed.sum()))
