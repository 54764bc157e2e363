"""Tables of rows: CSV (also .gz), TSV and Parquet, read column by column, and strictly.

Every value is read as text, and becomes a number or a category by the schema alone: nothing is
guessed from what the rows hold.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from clients.data.bounds import Column, Schema, log_of
from clients.data.encodings import Columns
from clients.data.sources.piles import Parts, Pile
from clients.data.sources.raw import Raw
from privacy.errors import DataError
from privacy.foreign import open_foreign

MOST_FILE_BYTES = 64 << 30
BLOCK_BYTES = 16 << 20
BLOCK_ROWS = 1 << 16
SNIFFED_BYTES = 1 << 16
SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
ENDS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet")


@dataclass(frozen=True)
class Rows:
    """Columns of a table as text, each stripped of blanks at its ends.

    Attributes:
        before: rows of the table that come before these.
    """

    path: Path
    table: pa.Table
    before: int = 0

    def text(self, name: str) -> NDArray:
        """One column, objects [N]; equal texts are one object."""
        column = self.table.column(name).combine_chunks().dictionary_encode()
        known = np.array([*column.dictionary.to_pylist(), ""], dtype=object)
        return known[column.indices.to_numpy()]

    def numbers(self, name: str, missing: Sequence[str] = ()) -> NDArray[np.float64]:
        """One column; NaN where a value is missing.

        Raises:
            DataError: names the row.
        """
        column = self.table.column(name)
        if missing:
            gone = pc.is_in(column, pa.array(list(missing)))
            column = pc.if_else(gone, pa.scalar(None, pa.string()), column)
        try:
            values = pc.cast(column, pa.float64())
        except pa.ArrowInvalid:
            raise self._no_number(name, column) from None
        told = values.to_numpy(zero_copy_only=False)
        if (wrong := np.flatnonzero(~np.isfinite(told) & column.is_valid().to_numpy())).size:
            raise self._wrong(name, int(wrong[0]), column, "must be a finite number")
        return told

    def _no_number(self, name: str, column: pa.ChunkedArray) -> DataError:
        for row, value in enumerate(column.to_pylist()):
            try:
                float(value or "x") if value is not None else None
                pc.cast(pa.scalar(value), pa.float64())
            except (ValueError, pa.ArrowInvalid):
                return self._wrong(name, row, column, "must be a number")
        return DataError(f"{self.path}: column {name}: cannot be read as numbers")

    def _wrong(self, name: str, row: int, column: pa.ChunkedArray, what: str) -> DataError:
        value = column[row].as_py()
        told = repr(str(value)[:20]) if value else "nothing"
        remedy = "say what stands for no value: missing = [...] in the schema, or mend the file"
        if value and value.count(",") == 1 and value.replace(",", "").strip("-").isdigit():
            remedy = "write decimals with a point"
        return DataError(
            f"{self.path}: row {self.before + row + 2}, column {name}: {told}, {what}; {remedy}"
        )


def names_in_table(path: Path) -> list[str]:
    """Its columns.

    Raises:
        DataError: it is no table.
    """
    if path.suffix == ".parquet":
        try:
            with open_foreign(path, MOST_FILE_BYTES) as file:
                return list(pyarrow.parquet.ParquetFile(file).schema_arrow.names)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read: {_reason(error)}") from None
    header, separator, _ = _header(path)
    return [name.strip().strip('"') for name in header.split(separator)]


def read_rows(path: Path, wanted: Sequence[str]) -> Rows:
    """Some columns of a table, whole: see `read_blocks`."""
    return Rows(path, pa.concat_tables(block.table for block in read_blocks(path, wanted)))


def read_blocks(path: Path, wanted: Sequence[str]) -> Iterator[Rows]:
    """Some columns of a table, some rows at a time: it may be larger than memory.

    Raises:
        DataError: the file cannot be read, or has no such column: file, row and remedy.
    """
    names = names_in_table(path)
    for name in wanted:
        if names.count(name) != 1:
            twice = "is there twice" if name in names else "is not there"
            near = [] if name in names else get_close_matches(name, names, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; it has {_shown(names)}"
            raise DataError(f"{path}: column {name} {twice}{meant}")
    read = _read_parquet if path.suffix == ".parquet" else _read_text
    before = 0
    try:
        for batch in read(path, names, wanted):
            columns = [pc.cast(batch.column(name), pa.string()).fill_null("") for name in wanted]
            stripped = [pc.utf8_trim_whitespace(column) for column in columns]
            yield Rows(path, pa.table(dict(zip(wanted, stripped, strict=True))), before)
            before += len(batch)
    except (OSError, pa.ArrowException, ValueError) as error:
        told = _ragged(path, names) or f"cannot be read: {_reason(error)}"
        raise DataError(f"{path}: {told}") from None
    if not before:
        raise DataError(f"{path}: a header and no row; give the records")


def _read_parquet(path: Path, names: list[str], wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with open_foreign(path, MOST_FILE_BYTES) as file:
        table = pyarrow.parquet.ParquetFile(file)
        yield from table.iter_batches(BLOCK_ROWS, columns=list(wanted))


def _ragged(path: Path, names: list[str]) -> str:
    """The first row that has not as many values as the header; empty if none is found.

    pyarrow numbers rows if it reads with one thread only.
    """
    if path.suffix == ".parquet":
        return ""
    try:
        for _ in _read_text(path, names, names[:1], use_threads=False):
            pass
    except (OSError, pa.ArrowException, ValueError) as error:
        if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error)):
            row, wanted, there = found.groups()
            return f"row {row}: {there} values, where the header names {wanted}; mend that row"
    return ""


def _read_text(
    path: Path, names: list[str], wanted: Sequence[str], use_threads: bool = True
) -> Iterator[pa.RecordBatch]:
    _, separator, start = _header(path)
    parse = pyarrow.csv.ParseOptions(delimiter=separator)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=list(wanted),
        strings_can_be_null=False,
        quoted_strings_can_be_null=False,
    )
    read = pyarrow.csv.ReadOptions(
        column_names=names, skip_rows=start, block_size=BLOCK_BYTES, use_threads=use_threads
    )
    with open_foreign(path, MOST_FILE_BYTES) as file:
        stream = pa.CompressedInputStream(file, "gzip") if path.suffix == ".gz" else file
        yield from pyarrow.csv.open_csv(
            stream, read_options=read, parse_options=parse, convert_options=convert
        )


def _header(path: Path) -> tuple[str, str, int]:
    """The first line, what separates its names, and how many lines come before the rows.

    Raises:
        DataError: there is no header of names.
    """
    try:
        with open_foreign(path, MOST_FILE_BYTES) as file:
            stream = pa.CompressedInputStream(file, "gzip") if path.suffix == ".gz" else file
            start = stream.read(SNIFFED_BYTES)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}") from None
    for mark, encoding in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if start.startswith(mark):
            raise DataError(f"{path}: is {encoding}; save it as UTF-8")
    first = start.split(b"\n", 1)[0].rstrip(b"\r")
    try:
        header = first.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: row 1 is not UTF-8; save the file as UTF-8") from None
    if "\0" in header or not header.strip():
        raise DataError(f"{path}: row 1 is empty, or no text; it must name the columns")
    counts = {separator: header.count(separator) for separator in SEPARATORS}
    separator = max(counts, key=lambda one: counts[one])
    rivals = [one for one, count in counts.items() if count and one != separator]
    second = start.split(b"\n", 2)[1:2]
    if rivals and second and second[0].count(rivals[0].encode()) >= counts[separator] > 0:
        told = " or ".join(SEPARATORS[one] for one in (separator, rivals[0]))
        raise DataError(f"{path}: row 1: is {told} between its columns? Use one of them only")
    fields = [field.strip().strip('"') for field in header.split(separator)]
    if all(_is_number(field) for field in fields):
        raise DataError(f"{path}: row 1 holds numbers; it must name the columns: add a header")
    return header, separator, 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    told = (getattr(error, "strerror", None) or str(error)).split("\n")[0][:160].rstrip(". ")
    if "UTF8" in told:
        return "it is not UTF-8; save it as UTF-8"
    return told


def _shown(names: Sequence[str]) -> str:
    told = ", ".join(name[:40] for name in names[:6])
    return f"{told}, and {len(names) - 6} more" if len(names) > 6 else told


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
    )


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
