"""What changed since another report: its figures against those of today.

A report carries its figures (`as_data`), so that another can be held against it without the runs
that it was made of. The file is foreign: it is read as data of bounded size, or refused.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy.documents import from_json
from privacy.errors import RunError
from privacy.foreign import read_foreign
from server.report.facts.facts import RunFacts
from server.report.facts.findings import Interval
from server.report.facts.scores import axes_of, scores_of
from server.report.facts.values import UNREADABLE, listed, number, table, text, why

MOST_BYTES = 64_000_000
CARRIED = re.compile(r'<script type="application/json" id="scores">(.*?)</script>', re.DOTALL)
UNITS = ("", "%", "s", "J")
MODELLED = ("time ", "energy ")  # axes that are computed, not drawn


@dataclass(frozen=True)
class Mark:
    """A score as a report carries it: of a work on an axis."""

    axis: str
    work: str
    name: str
    unit: str
    interval: Interval

    @property
    def is_modelled(self) -> bool:
        """Is it computed, so that any difference is one?"""
        return self.axis.startswith(MODELLED)


@dataclass(frozen=True)
class Change:
    """A score then and now.

    Attributes:
        difference: now less then, with the 95 % interval of two independent estimates.
        beyond: is it more than its interval allows? None where there is no interval to tell.
    """

    before: Mark
    now: Mark
    difference: Interval
    beyond: bool | None


@dataclass(frozen=True)
class Since:
    """Another report, and what became of its scores.

    Attributes:
        gone, new: names of those that only one of the two has.
    """

    name: str
    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """How much changed, of how much."""
        changed = sum(change.beyond is True for change in self.changes)
        unknown = sum(change.beyond is None for change in self.changes)
        told = f"Since {self.name}, {changed} of {len(self.changes)} figures changed by more than "
        told += "chance allows"
        told += f"; of {unknown} more that differ, it is not known" if unknown else ""
        for names, what in ((self.new, "new"), (self.gone, "gone")):
            told += f"; {len(names)} are {what}" if names else ""
        return told + "."


def marks_of(runs: Sequence[RunFacts]) -> tuple[Mark, ...]:
    """The scores of runs, those that have a value."""
    axes = {axis.key: axis for axis in axes_of(runs)}
    return tuple(
        Mark(s.axis, s.work, f"{axes[s.axis].name}, {s.promise}, {s.series}", axes[s.axis].unit,
             s.interval)
        for s in scores_of(runs)
        if s.interval
    )  # fmt: skip


def as_data(marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """As a report carries them."""
    return [
        {"axis": m.axis, "work": m.work, "name": m.name, "unit": m.unit, **vars(m.interval)}
        for m in marks
    ]


def read_marks(path: Path) -> tuple[Mark, ...]:
    """The scores that a report carries: its page, or its JSON.

    Raises:
        RunError: the file is no report, or one from before reports carried them.
    """
    try:
        told = read_foreign(path, MOST_BYTES).decode()
        found = CARRIED.search(told)
        document = from_json(found[1] if found else told)
        rows = document if found else table(document)["scores"]
        return tuple(_mark(table(row)) for row in listed(rows))
    except (*UNREADABLE, OSError) as error:
        reason = error if isinstance(error, OSError) else why(error)
        raise RunError(
            f"{path}: no figures of a report are in it ({reason}); give a page or the JSON that "
            "privet report wrote, or the runs that it was made of"
        ) from error


def _mark(row: Any) -> Mark:
    unit = text(row["unit"])
    if unit not in UNITS:
        raise ValueError(unit)
    value, low, high = (number(row[key]) for key in ("value", "low", "high"))
    axis, work, name = (text(row[key]) for key in ("axis", "work", "name"))
    return Mark(axis, work, name, unit, Interval(value, low, high))


def since(name: str, before: Sequence[Mark], now: Sequence[Mark]) -> Since:
    """Scores of the same work on the same axis, then and now."""
    then = {(mark.axis, mark.work): mark for mark in before}
    today = {(mark.axis, mark.work): mark for mark in now}
    return Since(
        name,
        tuple(_changes(then, today)),
        tuple(mark.name for key, mark in then.items() if key not in today),
        tuple(mark.name for key, mark in today.items() if key not in then),
    )


def _changes(then: dict[Any, Mark], today: dict[Any, Mark]) -> Iterator[Change]:
    for key, now in today.items():
        if key in then:
            difference = less(now.interval, then[key].interval)
            yield Change(then[key], now, difference, _beyond(difference, now.is_modelled))


def less(a: Interval, b: Interval) -> Interval:
    """a less b, of two independent estimates (Zou and Donner, Stat. Med. 2008, equation 4). Of two
    on the same test records it is wider than need be."""
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    return Interval(value, low, value + math.hypot(a.high - a.value, b.value - b.low))


def _beyond(difference: Interval, modelled: bool) -> bool | None:
    if difference.value == 0:
        return False
    if difference.low == difference.high:
        return True if modelled else None
    return not difference.low <= 0 <= difference.high
