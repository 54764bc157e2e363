"""Rows of a table as text: CSV (also .gz), TSV and Parquet, some at a time.

Nothing is guessed from what the rows hold.
"""

import csv
import gzip
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from clients.data.settings import is_hub
from clients.data.sources import hub
from privacy.errors import DataError
from privacy.foreign import open_foreign
from privacy.settings import suggest
from privacy.text import MARKS

MOST_FILE_BYTES = 64 << 30
BLOCK_BYTES = 16 << 20
BLOCK_ROWS = 1 << 16
SNIFFED_BYTES = 1 << 20
SHOWN = 40  # signs of a column's name
SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
_WITHOUT_END = "straddl"  # as pyarrow says it
NO_TEXT = {mark: f"is {encoding}; save it as UTF-8" for mark, encoding in MARKS.items()} | {
    b"\x1f\x8b": "is packed by gzip; let its name end in .csv.gz",
    b"PK\x03\x04": "is a zip, or a spreadsheet; save it as CSV",
    b"PAR1": "is Parquet; let its name end in .parquet",
}


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
    if is_hub(path):
        return hub.names_of(path)
    if not _is_parquet(path):
        return _header(path)[0]
    try:
        with open_foreign(path, MOST_FILE_BYTES) as file:
            names = list(pyarrow.parquet.ParquetFile(file).schema_arrow.names)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}") from None
    _require_seen(path, "".join(names))
    return names


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def read_blocks(path: Path, wanted: Sequence[str]) -> Iterator[Rows]:
    """Some columns of a table, some rows at a time: it may be larger than memory.

    Raises:
        DataError: the file cannot be read, or has no such column: file, row and remedy.
    """
    names = names_in_table(path)
    if not set(wanted) & set(names):
        raise DataError(
            f"{path}: row 1 names none of {_shown(wanted)}; it has {_shown(names)}: add a header, "
            "or mend the names"
        )
    for name in wanted:
        if names.count(name) != 1:
            raise _no_such_column(path, name, names)
    read = _read_hub if is_hub(path) else _read_parquet if _is_parquet(path) else _read_text
    before = 0
    try:
        for batch in read(path, names, wanted):
            columns = {name: _as_text(path, name, batch.column(name), before) for name in wanted}
            yield Rows(path, pa.table(columns), before)
            before += len(batch)
    except (OSError, pa.ArrowException, ValueError) as error:
        if "UTF8" in str(error):
            raise DataError(f"{path}: {_first_not_utf8(path)} UTF-8; save it as UTF-8") from None
        if _WITHOUT_END in str(error):
            raise DataError(
                f"{path}: row {before + 2} or a later one has no end in {BLOCK_BYTES:,} bytes: a "
                "quote left open, or no text? Mend it"
            ) from None
        raise DataError(f"{path}: cannot be read: {_reason(error)}") from None
    if not before:
        raise DataError(f"{path}: a header and no row; give the records")


def _as_text(path: Path, name: str, column: pa.Array, before: int) -> pa.Array:
    try:
        texts = pc.cast(column, pa.string()).fill_null("")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise DataError(
            f"{path}: column {name}: holds {column.type}, must be numbers or text; give a column "
            "to each of its values, or take it out of the schema"
        ) from None
    try:
        texts.validate(full=True)  # a binary format says what is text, and nobody has looked
    except pa.ArrowInvalid as error:
        at = re.search("index ([0-9]+)", str(error))
        row = f"row {before + int(at[1]) + 2}" if at else f"a row from {before + 2} on"
        raise DataError(f"{path}: {row}, column {name}: is not UTF-8; save it as UTF-8") from None
    return pc.utf8_trim_whitespace(texts)


def _no_such_column(path: Path, name: str, names: Sequence[str]) -> DataError:
    if name in names:
        what = "is there twice; name one of them otherwise"
    else:
        near = suggest(name, [one[:SHOWN] for one in names])
        remedy = near if near.startswith("; did you") else "; mend its name, or the file"
        what = f"is not there{remedy}"
    return DataError(f"{path}: column {name[:SHOWN]} {what}; it has {_shown(names)}")


def _read_hub(path: Path, names: list[str], wanted: Sequence[str]) -> Iterator[pa.Table]:
    yield from hub.blocks(path, wanted, BLOCK_ROWS)


def _read_parquet(path: Path, names: list[str], wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with open_foreign(path, MOST_FILE_BYTES) as file:
        table = pyarrow.parquet.ParquetFile(file)
        yield from table.iter_batches(BLOCK_ROWS, columns=list(wanted))


def _read_text(
    path: Path, names: list[str], wanted: Sequence[str], threads: bool = True
) -> Iterator[pa.RecordBatch]:
    separator = _header(path)[1]
    parse = pyarrow.csv.ParseOptions(delimiter=separator)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=list(wanted),
        strings_can_be_null=False,
        quoted_strings_can_be_null=False,
    )
    read = pyarrow.csv.ReadOptions(
        column_names=names, skip_rows=1, block_size=BLOCK_BYTES, use_threads=threads
    )
    try:
        with open_foreign(path, MOST_FILE_BYTES) as file:
            yield from pyarrow.csv.open_csv(
                _unpacked(path, file), read_options=read, parse_options=parse,
                convert_options=convert,
            )  # fmt: skip
    except pa.ArrowInvalid as error:
        if threads and "Expected" in str(error):  # one thread alone counts rows, and says which
            for _ in _read_text(path, names, wanted, threads=False):
                pass
        raise


def _first_not_utf8(path: Path) -> str:
    """Where text stops being text, which pyarrow does not say: `row 7 is not`."""
    with open_foreign(path, MOST_FILE_BYTES) as file:
        lines = gzip.GzipFile(fileobj=file) if path.suffix.lower() == ".gz" else file
        row = 0
        while line := lines.readline(BLOCK_BYTES):
            row += 1
            try:
                line.decode()
            except UnicodeDecodeError:
                return f"row {row} is not"
    return "it is not"


def _unpacked(path: Path, file: BinaryIO) -> BinaryIO | pa.CompressedInputStream:
    return pa.CompressedInputStream(file, "gzip") if path.suffix.lower() == ".gz" else file


def _header(path: Path) -> tuple[list[str], str]:
    """The names in the first line, and what separates them.

    Raises:
        DataError: there is no header of names.
    """
    try:
        with open_foreign(path, MOST_FILE_BYTES) as file:
            start = _unpacked(path, file).read(SNIFFED_BYTES)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}") from None
    for mark, told in NO_TEXT.items():
        if start.startswith(mark):
            raise DataError(f"{path}: {told}")
    first, end, rest = start.partition(b"\n")
    if not end and len(start) == SNIFFED_BYTES:
        raise DataError(
            f"{path}: row 1 has no end in {SNIFFED_BYTES:,} bytes; it must name columns"
        )
    first = first.removesuffix(b"\r")
    try:
        header = first.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: row 1 is not UTF-8; save the file as UTF-8") from None
    if "\0" in header:
        raise DataError(f"{path}: row 1 holds zero bytes: UTF-16, or no text; save it as UTF-8")
    if not header.strip():
        raise DataError(f"{path}: row 1 is empty; it must name the columns")
    _require_seen(path, header)
    outside = re.sub(r'"[^"]*"', "", header)
    counts = {separator: outside.count(separator) for separator in SEPARATORS}
    separator = max(counts, key=lambda one: counts[one])
    rivals = [one for one, count in counts.items() if count and one != separator]
    second = rest.split(b"\n", 1)[0]
    if rivals and second.count(rivals[0].encode()) >= counts[separator] > 0:
        told = " or ".join(SEPARATORS[one] for one in (separator, rivals[0]))
        raise DataError(f"{path}: row 1: is {told} between its columns? Use one of them only")
    fields = [field.strip() for field in next(csv.reader([header], delimiter=separator))]
    if all(_is_number(field) for field in fields):
        raise DataError(f"{path}: row 1 holds numbers; it must name the columns: add a header")
    return fields, separator


def _require_seen(path: Path, names: str) -> None:
    """Refuse names of columns that would do something to a terminal.

    Raises:
        DataError: one of them does.
    """
    if "\r" in names:
        raise DataError(f"{path}: its lines end in CR alone; save them with LF")
    if hidden := [one for one in names if unicodedata.category(one) == "Cc" and one != "\t"]:
        raise DataError(
            f"{path}: row 1 holds U+{ord(hidden[0]):04X}, which cannot be seen; take it out"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    told = (getattr(error, "strerror", None) or str(error)).split("\n")[0][:160].rstrip(". ")
    if "Expected" in told and "columns" in told:
        told = told.removeprefix("CSV parse error: ")
        return f"{told.replace('Row #', 'row ', 1)}; mend that row"
    if getattr(error, "errno", None) is None:  # not the file system's, but what it unpacks to
        return f"{told}; bring it again, and whole"
    return told


def _shown(names: Sequence[str]) -> str:
    told = ", ".join(name[:SHOWN] for name in names[:6])
    return f"{told}, and {len(names) - 6} more" if len(names) > 6 else told
