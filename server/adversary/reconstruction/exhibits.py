"""Exhibits: a few victims' records beside what was drawn of them, as their owner would write them.

Rows of a table are values of columns, numbers in their own units; what was recorded over time is a
curve for each channel. The victims are the first that were drawn by lot, whatever came of them.
"""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attacks.tape import ABSENT, Column, Nature
from clients.data import bounds
from clients.data.bounds import log_of
from clients.data.dataset import Dataset
from clients.data.encodings import Columns
from clients.data.settings import Data
from server.adversary.reconstruction.victims import Found
from server.run.merit import names_of

VICTIMS = {"table": 3, "window": 2, "sound": 2}
POINTS = 96  # of a curve: of more samples, the farthest from nothing of as many stretches
MOST_COLUMNS = 200
MOST_CHANNELS = 6
MISSING = "missing"
ROWS = ("original", "reconstruction", "nearest_stranger")

Cell = str | float


def exhibits_of(
    data: Data, dataset: Dataset, nature: Nature, y: Tensor, rows: dict[str, Tensor]
) -> Found:
    """Of records that are no pictures; of pictures, which are shown as such, the classes alone.

    Args:
        y: labels or targets of the victims [V, ...].
        rows: by the names in `ROWS`, records [V, *nature.shape].
    """
    named = names_of(dataset)
    classes = [named[int(c)] for c in y] if dataset.task == "classes" else []
    if nature.kind == "picture":
        return {"classes": classes}
    num = min(VICTIMS[nature.kind], len(y))
    found: Found = {"classes": classes[:num]}
    if nature.kind == "table":
        columns = nature.columns[:MOST_COLUMNS]
        assert isinstance(dataset.encoding, Columns)
        told = dataset.encoding.schema.columns
        found["columns"] = [{"name": c.name, "unit": told[c.name].unit} for c in columns]
        found["rows"] = [
            {
                name: [written(rows[name][v], column, told[column.name]) for column in columns]
                for name in ROWS
            }
            for v in range(num)
        ]
        return found
    channels = _channels(data, nature)
    found["seconds"] = nature.shape[-1] / dataset.rate_hz if dataset.rate_hz else None
    found["samples"] = nature.shape[-1]
    found["channels"] = [{"name": name, "unit": unit} for name, unit, _, _ in channels]
    found["curves"] = [
        {
            name: [
                [float(f"{x:.4g}") for x in low + (high - low) * (curve(line) + 1) / 2]
                for line, (_, _, low, high) in zip(
                    rows[name][v].reshape(-1, nature.shape[-1]).numpy(), channels, strict=False
                )
            ]
            for name in ROWS
        }
        for v in range(num)
    ]
    return found


def written(record: Tensor, place: Column, column: bounds.Column) -> Cell:
    """One column's value of a record [F], undone from how a model reads it."""
    block = record[place.start : place.start + place.width]
    if place.values:
        code = int(block.argmax())
        known = code < len(column.values) and float(block[code]) > 0
        return column.values[code] if known else MISSING
    if ABSENT in place.flags and float(block[1 + place.flags.index(ABSENT)]) > 0.5:
        return MISSING
    assert column.low is not None
    assert column.high is not None
    share = (float(block[0]) + 1) / 2
    if column.log:
        value = column.low + math.expm1(share * log_of(column.low, column.high))
    else:
        value = column.low + share * (column.high - column.low)
    return float(f"{value:.4g}")


def curve(line: NDArray) -> NDArray[np.float64]:
    """What was recorded over time [L], in `POINTS` at most."""
    if len(line) <= POINTS:
        return line.astype(np.float64)
    parts = np.array_split(line.astype(np.float64), POINTS)
    return np.array([part[np.abs(part - part.mean()).argmax()] for part in parts])


def _channels(data: Data, nature: Nature) -> list[tuple[str, str, float, float]]:
    """Of what is recorded: name, unit, and what stands for -1 and 1."""
    num = math.prod(nature.shape[:-1])
    told = data.schema.columns if data.schema and nature.kind == "window" else {}
    if len(told) == num and all(c.low is not None and not c.log for c in told.values()):
        channels = [(name, c.unit, c.low or 0.0, c.high or 0.0) for name, c in told.items()]
    else:
        channels = [(f"channel {c}" if num > 1 else "", "", -1.0, 1.0) for c in range(num)]
    return channels[:MOST_CHANNELS]
