"""A first draft of a schema, made by looking at the records, and saying so.

Whatever comes from the records is marked: their owner replaces it from public knowledge, since no
epsilon covers what a schema tells.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clients.data.bounds import Schema
from clients.data.sources import pictures, sounds
from clients.data.sources.arrays import are_pictures, open_arrays, require_numbers, texts_of
from clients.data.sources.members import Member, names_of
from clients.data.sources.piles import AT_ONCE
from clients.data.sources.rows import names_in_table, read_blocks
from privacy.documents import to_json
from privacy.errors import DataError

LOOKED = "# from the records: replace it by what is public"
HEAD = (
    "# A draft, made by looking at private records. Every line marked 'from the records' tells of",
    "# them, and no epsilon covers that: replace its values by what is known without them.",
)
NOTHING = ("", "?", "NA", "N/A", "nan", "NaN", "null", "None")
MOST_DRAFTED = 200  # values of a category
LOOKED_AT = 200  # pictures, for their size
FEW = 12  # whole numbers that are rather codes
UNLABELLED = ("-1", *NOTHING)
PLACES = ("id", "index", "row", "sequence", "number", "recording", "session", "time", "timestamp")
TARGETS = ("label", "target", "class", "y", "outcome", "activity")
PERSONS = ("person", "subject", "patient", "user", "participant", "speaker", "client")


@dataclass
class _Seen:
    """What was seen of one column, some rows at a time: a few of its values, and its ends."""

    values: set[str] = field(default_factory=set)
    low: float = math.inf
    high: float = -math.inf
    middle: float = 0.0
    numbers: bool = True

    def add(self, texts: Sequence[str]) -> None:
        """Different values of some rows."""
        self._add_numbers([text for text in texts if text not in NOTHING])
        self.values.update(text for text in texts if text in NOTHING)
        if len(self.values) <= MOST_DRAFTED + len(NOTHING):
            self.values.update(sorted(texts)[: MOST_DRAFTED + len(NOTHING) + 1])

    def _add_numbers(self, texts: Sequence[str]) -> None:
        if not (self.numbers and texts):
            return
        self.numbers = all(map(_is_number, texts))
        if self.numbers:
            numbers = [float(text) for text in texts]
            first = not math.isfinite(self.low)
            self.middle = float(np.median(numbers)) if first else self.middle
            self.low, self.high = min(self.low, *numbers), max(self.high, *numbers)

    @property
    def told(self) -> list[str]:
        """Values, without what stands for none."""
        return sorted((text for text in self.values if text not in NOTHING), key=_natural)

    @property
    def gone(self) -> list[str]:
        """What stands for no value."""
        return sorted((text for text in self.values if text in NOTHING), key=_natural)


def draft_table(path: Path, targets: Sequence[str], person: str, task: str) -> list[str]:
    """The lines of a schema for a table, of which some rows are in memory at a time.

    Args:
        targets: the columns that a model is to say.
        person: the column of whose a record is; it is no column to be read.
        task: as in [data].

    Raises:
        DataError: the table cannot be read.
    """
    names = names_in_table(path)
    seen = {name: _Seen() for name in names}
    for rows in read_blocks(path, names):
        for name in names:
            seen[name].add(rows.table.column(name).unique().to_pylist())
    lines = [*HEAD]
    if task == "classes":
        lines += _labels(path, targets[0], seen[targets[0]])
    elif task == "number":
        if not seen[targets[0]].numbers or seen[targets[0]].low > seen[targets[0]].high:
            raise DataError(f"{path}: column {targets[0]}: holds no numbers; name another --target")
        lines += [f"{line}, of {targets[0]}" for line in _bounds(seen[targets[0]])]
    for name in names:
        if name.lower() in PLACES:
            lines += ["", f"# column {name} seems to number the rows, and is left out"]
        elif name != person and (task == "itself" or name not in targets):
            lines += ["", f"[columns.{to_json(name)}]", *_column(seen[name])]
    return lines


def _labels(path: Path, target: str, seen: _Seen) -> Iterator[str]:
    labels = sorted(seen.values, key=_natural)
    if len(labels) > MOST_DRAFTED:
        raise DataError(
            f"{path}: column {target} has more than {MOST_DRAFTED} different values; for a number "
            "say --task number, or name another --target"
        )
    none = [label for label in labels if label in UNLABELLED]
    yield f"labels = {_listed([one for one in labels if one not in none])}  {LOOKED}"
    if none:
        yield f"unlabelled = {_listed(none)}  {LOOKED}"


def _bounds(seen: _Seen) -> list[str]:
    low, high = _outward(seen.low, -1), _outward(seen.high, 1)
    high = low + 1 if low == high else high
    return [f"low = {low!r}  {LOOKED}", f"high = {high!r}  {LOOKED}"]


def _column(seen: _Seen) -> Iterator[str]:
    told, gone = seen.told, seen.gone
    if told and seen.numbers:
        yield from _bounds(seen)
        if len(told) <= FEW and all(float(text).is_integer() for text in told):
            yield f"# {len(told)} whole numbers: if they are codes, give values = {_listed(told)}"
        if seen.low >= 0 and _outward(seen.high, 1) > 100 * max(seen.middle, 1e-9):
            yield "# a long tail: log = true reads amounts by their size"
    elif 0 < len(told) <= MOST_DRAFTED:
        yield f"values = {_listed(told)}  {LOOKED}"
    elif told:
        yield "# many different texts: a name or free text? take this column out, or list"
        yield f"values = {_listed(told[:3])}  {LOOKED}"
    else:
        yield "# no value at all: take this column out"
        yield "low = 0.0"
        yield "high = 1.0"
    if gone:
        yield f"missing = {_listed(gone)}  {LOOKED}"


def draft_files(path: Path, stream: Iterator[Member], kind: str, task: str) -> list[str]:
    """The lines of a schema for pictures or sounds, of which a few are in memory at a time.

    Raises:
        DataError: they cannot be read.
    """
    labels: set[str] = set()
    sizes: Counter[tuple[int, ...]] = Counter()
    rate_hz = 0
    free = Schema(channels=3)
    for number, member in enumerate(stream):
        labels.add(member.fields.get("label", ""))
        if kind == "pictures" and number < LOOKED_AT:
            sizes[pictures.decode(path, member, free).shape[1:]] += 1
        elif kind == "sounds" and not rate_hz:
            rate_hz = sounds.rate_of(path, member)
    lines = [*HEAD]
    if task == "classes":
        lines.append(f"labels = {_listed(sorted(labels, key=_natural))}  {LOOKED}")
    elif task == "number":
        seen = _Seen()
        seen.add(sorted(labels))
        if not seen.numbers:
            raise DataError(f"{path}: its labels are no numbers; leave --task number out")
        lines += [f"{line}, of the label" for line in _bounds(seen)]
    if kind == "pictures":
        height, width = sizes.most_common(1)[0][0]
        return [
            *lines,
            f"size = [{height}, {width}]  # pictures of other sizes are resized to it",
            "channels = 3  # or 1: grey",
        ]
    return [*lines, f"rate_hz = {rate_hz}  # samples a second", "length_s = 1.0  # cut, or padded"]


def draft_arrays(path: Path, task: str) -> list[str]:
    """The lines of a schema for arrays; all columns or channels share one pair of bounds.

    Raises:
        DataError: they cannot be read.
    """
    arrays = open_arrays(path)
    x, y = arrays["train_x"], arrays["train_y"]
    require_numbers(path, "train", x)
    lines = [*HEAD]
    if task in ("classes", "number"):
        seen = _Seen()
        seen.add(np.unique(texts_of(y.ravel())).tolist())
        if task == "classes":
            lines += _labels(path, "train_y", seen)
        elif not seen.numbers or not y.size:
            raise DataError(f"{path}: train_y holds no numbers; leave --task number out")
        else:
            lines += [f"{line}, of train_y" for line in _bounds(seen)]
    if are_pictures(x):
        return lines
    low, high = math.inf, -math.inf
    for start in range(0, len(x), AT_ONCE):
        block = np.asarray(x[start : start + AT_ONCE], dtype=np.float64)
        known = block[np.isfinite(block)]
        low, high = min(low, known.min(initial=low)), max(high, known.max(initial=high))
    if low > high:
        raise DataError(f"{path}: train_x holds no number")
    both = _bounds(_Seen(low=low, high=high))
    return [*lines, "", "[columns.all]  # of each column, or channel", *both]


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
    num, changes = 0, 1
    for rows in read_blocks(path, [target, person]):
        whose, what = rows.text(person), rows.text(target)
        changes += int(((whose[1:] != whose[:-1]) | (what[1:] != what[:-1])).sum())
        num += len(whose)
    return num > 50 * changes


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
