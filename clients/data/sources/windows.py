"""Long recordings in a table, row by row, cut into windows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.bounds import Column, Schema
from clients.data.encodings import Scaled
from clients.data.settings import Windows
from clients.data.sources.piles import Parts, Pile
from clients.data.sources.raw import Raw
from clients.data.sources.rows import read_blocks
from clients.data.sources.tables import row, scaled
from privacy.errors import DataError

AT_ONCE = 1 << 12  # windows


def read_windows(
    path: Path, schema: Schema, windows: Windows, targets: Sequence[str], fields: Sequence[str]
) -> Raw:
    """Windows [N, C, length] of a table's number columns, in the order of the file.

    Raises:
        DataError: the table cannot be read; a channel is no number with bounds; a value is missing;
            or no window is that long.
    """
    channels = [name for name in schema.columns if name not in (*targets, *fields)]
    require_channels(path, {name: schema.columns[name] for name in channels})
    if not channels:
        raise DataError(f"{path}: its schema has no columns; privet data describe drafts them")
    within = [name for name in (*windows.within, *fields) if name]
    counts: Counter[str] = Counter()
    blocks, parts = [], Parts()
    for rows in read_blocks(path, list(dict.fromkeys([*channels, *targets, *within]))):
        numbers = [
            scaled(rows.numbers(name), schema.columns[name], name, counts) for name in channels
        ]
        blocks.append(np.stack(numbers).astype(np.float32))
        parts.add({name: rows.text(name) for name in dict.fromkeys([*targets[:1], *within])})
    samples, beside = np.concatenate(blocks, axis=1), parts.whole()  # [C, T]; [T] each
    labels = beside[targets[0]] if targets else np.full(samples.shape[1], "")
    keys = [beside[name] for name in within]
    parting = [*keys, labels] if windows.majority == 1 else keys
    starts, chosen = _cut(_runs(parting, samples.shape[1]), windows), []
    told: list[str] = []
    for start in starts:
        label, mixed = _label(labels[start : start + windows.length], windows.majority)
        if mixed:
            counts["windows of mixed labels: left out"] += 1
            continue
        chosen.append(start)
        told.append(label)
    if not chosen:
        raise DataError(f"{path}: no window of {windows.length} samples; ask for a shorter length")
    at = np.array(chosen)
    pile = Pile()
    for piece in np.array_split(at, -(-len(at) // AT_ONCE)):
        pile.add(np.stack([samples[:, start : start + windows.length] for start in piece]))
    return Raw(
        x=pile.whole(),
        targets={name: np.array(told, dtype=object) for name in targets[:1]},
        encoding=Scaled(),
        kind="window",
        fields={name: beside[name][at] for name in dict.fromkeys(within)},
        rate_hz=schema.rate_hz,
        counts=counts,
        place=lambda number: row(chosen[number]),
    )


def require_channels(path: Path, columns: Mapping[str, Column]) -> None:
    """Refuse columns that cannot be the channels of a window.

    Raises:
        DataError: one is of categories, or bends at knots.
    """
    for name, column in columns.items():
        if column.values:
            raise DataError(f"{path}: column {name}: windows are cut from numbers; give low, high")
        if column.knots:
            raise DataError(
                f"{path}: column {name}: knots are a table's, windows have none; take them out of "
                "the schema"
            )


def _runs(keys: Sequence[NDArray], num: int) -> list[tuple[int, int]]:
    """Where runs of equal keys begin and end."""
    change = np.zeros(num, dtype=bool)
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    starts = [0, *np.flatnonzero(change).tolist()]
    return list(zip(starts, [*starts[1:], num], strict=True))


def _cut(runs: Sequence[tuple[int, int]], windows: Windows) -> list[int]:
    return [
        start
        for begin, end in runs
        for start in range(begin, end - windows.length + 1, windows.step)
    ]


def _label(labels: NDArray, majority: float) -> tuple[str, bool]:
    """The commonest, and whether it is too rare."""
    if labels[0] == labels[-1] and (labels == labels[0]).all():
        return labels[0], False
    values, counts = np.unique(labels.astype(str), return_counts=True)
    best = int(counts.argmax())
    return str(values[best]), counts[best] < majority * len(labels)
