"""What a statement consists of: parts, each of one question, answered by facts.

No number stands in a part's words: each is a fact, with the place that it was read from, so that a
reader, or a test, can go there and find it again.
"""

from dataclasses import dataclass

from server.report.facts.findings import Interval
from server.report.facts.reached import Measure
from server.report.words.units import number, text

Value = bool | int | float | str | Interval | Measure | None


@dataclass(frozen=True)
class Fact:
    """One thing that is known, or is missing.

    Attributes:
        key: of the fact, in its part: what programs call it.
        name: what people call it.
        value: None if it is missing.
        source: the file of the run, and where in it; or how it follows from other facts.
        remedy: of a missing one: what would bring it.
    """

    key: str
    name: str
    value: Value
    source: str
    remedy: str = ""

    @property
    def shown(self) -> str:
        """The value as people read it."""
        if self.value is None:
            return f"missing: {self.remedy}" if self.remedy else "missing"
        if isinstance(self.value, bool):
            return "yes" if self.value else "no"
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, int | float):
            return _short(self.value)
        if self.value.low is None or self.value.high is None:
            return f"{_short(self.value.value)} (no interval)"
        low, high = _short(self.value.low), _short(self.value.high)
        return f"{_short(self.value.value)} ({low} to {high})"


@dataclass(frozen=True)
class Part:
    """One question.

    Attributes:
        words: what the facts mean, without a number.
    """

    key: str
    title: str
    question: str
    words: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Statement:
    """On one run."""

    run: str
    parts: tuple[Part, ...]

    @property
    def missing(self) -> tuple[tuple[Part, Fact], ...]:
        """All that is not known, in order."""
        return tuple((p, f) for p in self.parts for f in p.facts if f.value is None)


def _short(value: float) -> str:
    """Four significant digits; whole numbers whole."""
    return f"{value:,}" if isinstance(value, int) else text(number(value, 4))
