"""A first draft of a schema, made by looking at the records, and saying so.

Whatever comes from the records is marked: their owner replaces it from public knowledge, since no
epsilon covers what a schema tells.
"""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from clients.data.bounds import Schema
from clients.data.sources import pictures, sounds
from clients.data.sources.members import members, names_of
from clients.data.sources.tables import Rows, names_in_table, read_rows
from privacy.documents import to_json
from privacy.errors import DataError

LOOKED = "# from the records: replace it by what is public"
HEAD = (
    "# A draft, made by looking at private records. Every line marked 'from the records' tells of",
    "# them, and no epsilon covers that: replace its values by what is known without them.",
)
NOTHING = ("", "?", "NA", "N/A", "nan", "NaN", "null", "None")
MOST_DRAFTED = 200  # values of a category
FEW = 12  # whole numbers that are rather codes
UNLABELLED = ("-1", *NOTHING)
PLACES = ("id", "index", "row", "sequence", "number", "recording", "session", "time", "timestamp")
TARGETS = ("label", "target", "class", "y", "outcome", "activity")
PERSONS = ("person", "subject", "patient", "user", "participant", "speaker", "client")


def draft_table(path: Path, target: str, person: str) -> list[str]:
    """The lines of a schema for a table.

    Args:
        target: the column that a model is to say.
        person: the column of whose a record is; it is no column to be read.

    Raises:
        DataError: the table cannot be read.
    """
    names = names_in_table(path)
    rows = read_rows(path, names)
    labels = sorted(set(rows.text(target)), key=_natural)
    if len(labels) > MOST_DRAFTED:
        raise DataError(
            f"{path}: column {target} has {len(labels)} different values; for a number say "
            "--task number, or name another --target"
        )
    none = [label for label in labels if label in UNLABELLED]
    lines = [*HEAD, f"labels = {_listed([one for one in labels if one not in none])}  {LOOKED}"]
    lines += [f"unlabelled = {_listed(none)}  {LOOKED}"] * bool(none)
    for name in names:
        if name.lower() in PLACES:
            lines += ["", f"# column {name} seems to number the rows, and is left out"]
        elif name not in (target, person):
            lines += ["", f"[columns.{to_json(name)}]", *_column(rows, name)]
    return lines


def _column(rows: Rows, name: str) -> Iterator[str]:
    texts = rows.text(name)
    different = sorted(set(texts), key=_natural)
    gone = [text for text in different if text in NOTHING]
    told = [text for text in different if text not in NOTHING]
    missing = f"missing = {_listed(gone)}  {LOOKED}"
    if told and all(_is_number(text) for text in told):
        values = np.array([float(text) for text in told])
        low, high = _outward(float(values.min()), -1), _outward(float(values.max()), 1)
        if low == high:
            high = low + 1
        yield f"low = {low!r}  {LOOKED}"
        yield f"high = {high!r}  {LOOKED}"
        if len(told) <= FEW and all(value.is_integer() for value in values.tolist()):
            yield f"# {len(told)} whole numbers: if they are codes, give values = {_listed(told)}"
        if low >= 0 and high > 100 * max(float(np.median(values)), 1e-9):
            yield "# a long tail: log = true reads amounts by their size"
    elif len(told) <= MOST_DRAFTED:
        if not told:
            yield "# no value in any row: list those there may be, or take this column out"
        yield f"values = {_listed(told or gone[:1])}  {LOOKED}"
    else:
        yield f"# {len(told)} different texts: a name or free text? take this column out, or list"
        yield f"values = {_listed(told[:3])}  {LOOKED}"
    if gone:
        yield missing


def draft_files(path: Path, ends: Sequence[str], pattern: str) -> list[str]:
    """The lines of a schema for pictures or sounds.

    Raises:
        DataError: they cannot be read.
    """
    about = list(members(path, ends, pattern))
    labels = sorted({member.fields.get("label", "") for member in about}, key=_natural)
    lines = [*HEAD, f"labels = {_listed(labels)}  {LOOKED}"]
    if tuple(ends) == pictures.ENDS:
        free = Schema(channels=3)
        sizes = [pictures.decode(path, member, free).shape[1:] for member in islice(about, 200)]
        common = max(set(sizes), key=sizes.count)
        return [
            *lines,
            f"size = [{common[0]}, {common[1]}]  # pictures of other sizes are resized to it",
            "channels = 3  # or 1: grey",
        ]
    rate_hz = sounds.rate_of(path, about[0])
    return [*lines, f"rate_hz = {rate_hz}  # samples a second", "length_s = 1.0  # cut, or padded"]


def guess_pattern(path: Path, ends: Sequence[str]) -> str:
    """How paths tell the label: empty where each label has a folder.

    Names like `7_jackson_32.wav`, all in one folder, are taken for label, person and number.

    Raises:
        DataError: there is no such file.
    """
    names = names_of(path, ends)
    folders = {name.rpartition("/")[0] for name in names}
    parts = {name.rpartition("/")[2].rpartition(".")[0].count("_") for name in names}
    if len(folders) == 1 and parts == {2}:
        return "{label}_{person}_{index}" + names[0][names[0].rfind(".") :]
    return ""


def guess(names: Sequence[str], known: Sequence[str], otherwise: str = "") -> str:
    """A column by what it is called."""
    lower = {name.lower(): name for name in names}
    return next((lower[word] for word in known if word in lower), otherwise)


def looks_recorded(path: Path, target: str, person: str) -> bool:
    """Is a row of the table rather a moment of a long recording than a record?"""
    rows = read_rows(path, [target, person])
    whose, what = rows.text(person), rows.text(target)
    changes = int(((whose[1:] != whose[:-1]) | (what[1:] != what[:-1])).sum()) + 1
    return len(whose) > 50 * changes


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _outward(value: float, side: int) -> float:
    """The next number of two digits, away from the records: it tells less of them."""
    if value == 0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = value / digit
    return float(f"{(math.ceil(steps) if side > 0 else math.floor(steps)) * digit:.12g}")


def _listed(values: Sequence[str]) -> str:
    return to_json(list(values))


def _natural(text: str) -> list[tuple[int, float, str]]:
    """10 after 9."""
    return [
        (0, float(piece), "") if piece.isdecimal() else (1, 0.0, piece)
        for piece in re.split(r"(\d+)", text)
        if piece
    ]
