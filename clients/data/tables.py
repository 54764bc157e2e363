"""Tables: CSV files of a label and the pixels of a square image in each line.

Nothing is guessed. What is not a number, not in its column or not in this encoding is refused with
its file, row and column; a first row of names is read as such, and as nothing else. Rows and
columns are counted from 1, as a spreadsheet does.
"""

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.errors import DataError
from privacy.text import decode

LABEL = "label"
INDEX = {"", "id", "index", "unnamed: 0"}  # what spreadsheets and pandas put before a record
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
MOST = 255  # a label and a pixel are bytes
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+|nan|inf)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
QUOTED = re.compile(r'(^|,)[ \t]*"([^",]*)"[ \t]*(?=,|$)')
ASIDE = re.compile("#|//|sep=", re.IGNORECASE)  # what some programs write above a table


class Table(NamedTuple):
    """Records of a CSV file.

    Attributes:
        names: of the pixels' columns in their order, or none if the file names none.
        labels: uint8 [N].
        pixels: uint8 [N, H, W].
    """

    names: tuple[str, ...]
    labels: NDArray[np.uint8]
    pixels: NDArray[np.uint8]


def read_table(path: Path, content: bytes) -> Table:
    """Read the text of a CSV file.

    Raises:
        DataError: names the file, and the row and column where there are some.
    """
    rows, lines = _lines(path, content)
    fields = _first_row(path, rows[0], lines[0])
    _require_commas(path, rows[0], lines[0], fields)
    named = _is_header(path, fields, rows[0])
    column = _label_column(path, fields, rows[0]) if named else 0
    if named:
        rows, lines = rows[1:], lines[1:]
    if not lines:
        raise DataError(f"{path}: no records; a set that is empty has no file")
    values = _numbers(path, rows, lines)
    _require_bytes(path, rows, values, column)
    width = values.shape[1] - 1
    side = math.isqrt(width)
    if not side or side * side != width:
        raise DataError(
            f"{path}: row {rows[0]} has {width + 1} columns: a label and {width} pixels, which is "
            "no square; images that are not square come as data.npz or IDX"
        )
    table = values.astype(np.uint8)
    names = tuple(name for i, name in enumerate(fields) if named and i != column)
    pixels = np.delete(table, column, axis=1).reshape(-1, side, side)
    return Table(names, table[:, column].copy(), pixels)


def _lines(path: Path, content: bytes) -> tuple[list[int], list[str]]:
    """The lines with something in them, and their numbers."""
    every = re.split(r"\r\n|\r|\n", decode(path, content, DataError))
    told = [(number, line) for number, line in enumerate(every, start=1) if line.strip()]
    if not told:
        raise DataError(f"{path}: no records; a set that is empty has no file")
    return [number for number, _ in told], [line for _, line in told]


def _first_row(path: Path, row: int, line: str) -> list[str]:
    """Its fields, whether they are names or numbers."""
    if ASIDE.match(line.lstrip('" ')):
        raise DataError(
            f"{path}: row {row}: {line[:20]!r} is neither names of columns nor a record; take it "
            "out"
        )
    try:
        fields = next(csv.reader([line], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: row {row}: cannot be read as names or numbers: {error}") from None
    return [field.strip() for field in fields]


def _require_commas(path: Path, row: int, line: str, fields: Sequence[str]) -> None:
    if len(fields) > 1:
        for mark in (";", "\t"):
            if mark in line:
                raise DataError(
                    f"{path}: row {row} has commas and {SEPARATORS[mark]}: values are separated by "
                    "commas alone, and decimals have a point"
                )
        return
    found = next((name for mark, name in SEPARATORS.items() if mark in line.strip()), "")
    told = f"values are separated by {found}" if found else "has one value"
    raise DataError(f"{path}: row {row}: {told}; separate a label and its pixels by commas")


def _is_number(field: str) -> bool:
    return NUMBER.fullmatch(field) is not None


def _is_header(path: Path, fields: Sequence[str], row: int) -> bool:
    """Names, or a record? A row of both that names no label is a record with a fault in it."""
    for first in (0, 1):
        if list(fields) == [str(first + i) for i in range(len(fields))]:
            raise DataError(
                f"{path}: row {row} is {first}, {first + 1}, {first + 2}, ...: numbers of columns? "
                f"take them out, or name the labels' column {LABEL}"
            )
    return any(f.lower() == LABEL for f in fields) or not any(map(_is_number, fields))


def _label_column(path: Path, names: Sequence[str], row: int) -> int:
    lower = [name.lower() for name in names]
    if lower.count(LABEL) != 1:
        raise DataError(
            f"{path}: row {row} names columns, and {lower.count(LABEL) or 'none'} of them {LABEL}; "
            f"name the labels' column {LABEL}"
        )
    column = lower.index(LABEL)
    if empty := [i for i, name in enumerate(lower, start=1) if name in INDEX]:
        raise DataError(
            f"{path}: row {row}, column {empty[0]}: {names[empty[0] - 1]!r} numbers the records "
            "and is no pixel; take the column out"
        )
    pixels = [name for i, name in enumerate(lower) if i != column]
    places = [tuple(map(int, re.findall(r"\d+", name))) for name in pixels]
    if len(set(pixels)) < len(pixels) or (all(places) and places != sorted(places)):
        raise DataError(
            f"{path}: row {row}: the pixels' columns are not in the order of their names, or two "
            "have one name; put them in order, row by row of the image"
        )
    return column


def _numbers(path: Path, rows: list[int], lines: list[str]) -> NDArray[np.float64]:
    lines = [_unquoted(path, row, line) for row, line in zip(rows, lines, strict=True)]
    try:
        # Nothing is a comment: what follows a # is not dropped.
        return np.loadtxt(lines, dtype=np.float64, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        pass
    width = lines[0].count(",") + 1
    for row, line in zip(rows, lines, strict=True):
        fields = line.split(",")
        for column, field in enumerate(fields, start=1):
            if not _is_number(field):
                told = repr(field.strip()[:20]) if field.strip() else "nothing"
                raise DataError(f"{path}: row {row}, column {column}: {told}, must be a number")
        if len(fields) != width:
            raise DataError(f"{path}: row {row} has {len(fields)} columns, not {width}")
    raise DataError(f"{path}: cannot be read as numbers separated by commas")


def _unquoted(path: Path, row: int, line: str) -> str:
    """A line whose quotation marks, if there are any, hold one number each, without them."""
    if '"' not in line:
        return line
    line = QUOTED.sub(r"\1\2", line)
    if '"' in line:
        column = line.partition('"')[0].count(",") + 1
        raise DataError(
            f"{path}: row {row}, column {column}: quotation marks must hold one whole number, "
            "without a comma"
        )
    return line


def _require_bytes(path: Path, rows: list[int], values: NDArray[np.float64], label: int) -> None:
    """Whole numbers from 0 to 255: what is stored is what was written."""
    wrong = ~((values >= 0) & (values <= MOST) & (values == np.floor(values)))  # nan is wrong, too
    if not wrong.any():
        return
    row, column = (int(i) for i in np.argwhere(wrong)[0])
    value, what = values[row, column], "a label" if column == label else "a pixel"
    remedy = "number the labels from 0"
    if column != label:
        remedy = "pixels are kept as bytes: scale them to 0 ... 255 and round"
    raise DataError(
        f"{path}: row {rows[row]}, column {column + 1}: {what} is {value:g}, must be a whole "
        f"number from 0 to {MOST}; {remedy}"
    )
