"""Records drawn at random, of the form of somebody's file: for who examines what a device does.

No record of the file is among them, nor anything that its schema does not tell.
"""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from clients.data.bounds import Column, Schema
from clients.data.dataset import Dataset
from clients.data.encodings import Columns
from clients.data.settings import Data, Windows
from privacy.files import write_atomically

LABEL = 0  # of every record: a class, a flag, or a number


def draw_records(dataset: Dataset, data: Data, folder: Path, num: int) -> Data:
    """Write `num` records of a data set's form, and say how they are read.

    All are of class 0, of no label, or of the number 0 in the middle of its range.

    Args:
        dataset: of which the form is taken, and no record.
        data: how it was read.
    """
    labels = tuple(map(str, range(dataset.num_classes))) if data.task == "classes" else ()
    ends = (-1.0, 1.0) if data.task == "number" else (None, None)
    told = {"labels": labels, "names": (), "unlabelled": (), "low": ends[0], "high": ends[1]}
    schema = (data.schema or Schema()).model_copy(update=told)
    cut = {"test": {}, "test_share": 0.0, "test_path": "", "person": "", "pattern": ""}
    data = data.model_copy(update={**cut, "schema": schema, "windows": Windows()})
    rng = np.random.default_rng(0)
    return _DRAWN[dataset.kind](dataset, data, folder, num, rng)


def _table(dataset: Dataset, data: Data, folder: Path, num: int, rng: np.random.Generator) -> Data:
    assert isinstance(dataset.encoding, Columns)
    assert data.schema is not None
    known = dataset.encoding.schema.columns
    targets = {"labels": data.target, "itself": ()}.get(data.task, ("label",))
    told = {f"of {n}": column for n, column in enumerate(known.values())}
    columns = {name: _column(column, num, rng) for name, column in told.items()}
    columns |= {target: [str(LABEL)] * num for target in targets}
    path = folder / "drawn.parquet"
    with write_atomically(path) as file:
        pyarrow.parquet.write_table(pa.table(columns), file)
    schema = data.schema.model_copy(update={"columns": told})
    return data.model_copy(update={"path": str(path), "schema": schema, "target": tuple(targets)})


def _column(column: Column, num: int, rng: np.random.Generator) -> list[str]:
    if column.values:
        return [str(value) for value in rng.choice(column.values, num)]
    return [str(value) for value in rng.uniform(column.low or 0.0, column.high or 0.0, num)]


def _arrays(dataset: Dataset, data: Data, folder: Path, num: int, rng: np.random.Generator) -> Data:
    """Pictures, and windows of the channels that the schema bounds."""
    assert data.schema is not None
    shape, bounds = (num, *dataset.shape), list(data.schema.columns.values())
    if dataset.kind == "picture":
        x: NDArray = rng.integers(0, 256, shape, np.uint8)
    else:
        ends = [(column.low or 0.0, column.high or 0.0) for column in bounds]
        low, high = np.array(ends if len(ends) > 1 else ends * shape[1]).T[:, None, :, None]
        x = rng.uniform(low, high, shape)
    y = np.full(num, LABEL)
    path = folder / "drawn.npz"
    with write_atomically(path) as file:
        np.savez(file, train_x=x, train_y=y)
    return data.model_copy(update={"path": str(path), "target": ("label",)})


def _sounds(dataset: Dataset, data: Data, folder: Path, num: int, rng: np.random.Generator) -> Data:
    for number in range(num):
        samples = rng.integers(-(1 << 15), 1 << 15, dataset.shape, np.int16)
        with (
            write_atomically(folder / "drawn" / str(LABEL) / f"{number}.wav") as file,
            wave.open(file, "wb") as sound,
        ):
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(int(dataset.rate_hz))
            sound.writeframes(samples.astype("<i2").tobytes())
    return data.model_copy(update={"path": str(folder / "drawn")})


_DRAWN: dict[str, Callable[[Dataset, Data, Path, int, np.random.Generator], Data]] = {
    "table": _table,
    "window": _arrays,
    "picture": _arrays,
    "sound": _sounds,
}
