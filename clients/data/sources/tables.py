"""Tables of rows as records, read column by column, and strictly.

Every value is read as text, and becomes a number or a category by the schema alone.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clients.data.bounds import Column, Schema, log_of
from clients.data.encodings import Columns
from clients.data.sources.piles import Parts, Pile
from clients.data.sources.raw import Raw
from clients.data.sources.rows import Rows, read_blocks
from privacy.errors import DataError


def read_table(
    path: Path, schema: Schema, targets: Sequence[str], numeric: bool, fields: Sequence[str]
) -> Raw:
    """A table whose rows are records.

    Args:
        targets: columns that a model is to say; numbers where `numeric`.
        fields: columns to split by.

    Raises:
        DataError: see `read_rows`, or the schema has no columns.
    """
    features = [name for name in schema.columns if name not in targets]
    if not features:
        raise DataError(f"{path}: its schema has no columns; privet data describe drafts them")
    counts: Counter[str] = Counter()
    pile, said, beside = Pile(), Parts(), Parts()
    for rows in read_blocks(path, list(dict.fromkeys([*features, *targets, *fields]))):
        values = [
            _coded(rows, name, schema.columns[name], schema, counts)
            if schema.columns[name].values
            else _scaled(rows, name, schema.columns[name], counts)
            for name in features
        ]
        pile.add(np.stack(values, axis=1).astype(np.float32))
        said.add({n: rows.numbers(n) if numeric else rows.text(n) for n in targets})
        beside.add({name: rows.text(name) for name in fields})
    read = schema.model_copy(update={"columns": {n: schema.columns[n] for n in features}})
    return Raw(
        x=pile.whole(),
        targets=said.whole(),
        encoding=Columns(read),
        kind="table",
        fields=beside.whole(),
        columns=read.widths,
        counts=counts,
        place=row,
    )


def row(number: int) -> str:
    """Where a row lies, as an editor counts: the first names the columns."""
    return f"row {number + 2}"


def _coded(rows: Rows, name: str, column: Column, schema: Schema, counts: Counter[str]) -> NDArray:
    """A category's place among its values; after the last what is missing, -1 what has no place."""
    values = [value.strip() for value in column.values]
    missing = [*schema.missing, *column.missing]
    column_ = rows.table.column(name)
    codes = pc.index_in(column_, pa.array(values)).fill_null(-1).to_numpy()
    if (codes < 0).any():
        gone = pc.is_in(column_, pa.array(missing, pa.string())).to_numpy() & (codes < 0)
        strange = (codes < 0) & ~gone
        for kind, which in (("missing", gone), ("not among its values", strange)):
            if which.any():
                counts[f"{name}: {kind}"] += int(which.sum())
        if missing:
            codes = np.where(codes < 0, len(values), codes)
    return codes


def _scaled(rows: Rows, name: str, column: Column, counts: Counter[str]) -> NDArray:
    values = rows.numbers(name, column.missing)
    return scaled(values, column, name, counts)


def scaled(values: NDArray, column: Column, name: str, counts: Counter[str]) -> NDArray:
    """Numbers between their bounds as -1 to 1; what lies outside is clipped and counted."""
    assert column.low is not None
    assert column.high is not None
    outside = (values < column.low) | (values > column.high)
    if outside.any():
        counts[f"{name}: clipped"] += int(outside.sum())
    if gone := int(np.isnan(values).sum()):
        counts[f"{name}: missing"] += gone
    clipped = np.clip(values, column.low, column.high)
    if column.log:
        return np.log1p(clipped - column.low) * (2 / log_of(column.low, column.high)) - 1
    return (clipped - column.low) * (2 / (column.high - column.low)) - 1
