"""`--over`: the axes of a sweep, and the settings that each of their values stands for.

budget.epsilon=1,3,8,none          values; `none`, of an epsilon, is budget.unit=none
arithmetic.name=float,fixed+arithmetic.bits=4       a value that brings settings along
budget.epsilon=1,no DP: budget.unit=none+training.learning_rate=0.02      one with a name
budget.clip=0.05..1 log            a range, for --search; `log` spreads it by its logarithm
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from privacy.errors import SettingsError
from privacy.settings import override
from privacy.text import BRIEF

Settings = dict[str, Any]
Point = dict[str, Any]  # the label of each axis

KEY = r"[a-z_]+(?:\.[a-z_0-9]+)?"
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})(\s+log)?", re.IGNORECASE)
MOST, MOST_DIGITS = 1e18, 100  # what the search can divide, and a person would write
OPENS, CLOSES = "[", "]"
ABBREVIATIONS = {"budget.epsilon=none": "budget.unit=none"}


@dataclass(frozen=True)
class Choice:
    """One value of an axis.

    Attributes:
        label: what it is called: the value itself, a name given to it, or its text.
        settings: what it sets, by dotted key.
    """

    label: Any
    settings: Settings


@dataclass(frozen=True)
class Range:
    """All numbers between two, for a search. Whole numbers, if both ends are."""

    low: float
    high: float
    log: bool

    @property
    def label(self) -> str:
        """As it was written."""
        return f"{self.low}..{self.high}{' log' * self.log}"


@dataclass(frozen=True)
class Axis:
    """A key, and its choices or its range."""

    key: str
    choices: tuple[Choice, ...] = ()
    range: Range | None = field(default=None)

    @property
    def labels(self) -> list[Any]:
        """What a sweep's file says of it."""
        return [self.range.label] if self.range else [choice.label for choice in self.choices]

    def at(self, label: Any) -> Settings:
        """The settings that a label of this axis stands for."""
        if self.range:
            return {self.key: label}
        return next(choice.settings for choice in self.choices if choice.label == label)


def parse_axes(texts: Sequence[str]) -> list[Axis]:
    """Read the `--over` of a command line.

    Raises:
        SettingsError: one is not an axis, or two have the same key.
    """
    axes = [parse_axis(text) for text in texts]
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise SettingsError(f"--over {key}: given twice; put all values into one")
    return axes


def parse_axis(text: str) -> Axis:
    """Read one `--over`.

    Raises:
        SettingsError: it is not section.key=value,value,...
    """
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not re.fullmatch(KEY, key) or not values.strip():
        raise SettingsError(f"--over {text}: must be section.key=value,value,...")
    if found := RANGE.fullmatch(values.strip()):
        return Axis(key, range=_range(text, *found.groups()))
    choices = tuple(_choice(key, value.strip(), text) for value in _split(values))
    labels = [choice.label for choice in choices]
    for label in labels:
        if labels.count(label) > 1:
            raise SettingsError(f"--over {text}: {label} is there twice; give one another name")
    return Axis(key, choices)


def _range(text: str, low: str, high: str, log: str | None) -> Range:
    number = int if all(end.lstrip("+-").isdigit() for end in (low, high)) else float
    if max(len(low), len(high)) > MOST_DIGITS or max(abs(float(low)), abs(float(high))) > MOST:
        raise SettingsError(f"--over {text[:BRIEF]}: a range ends within {-MOST:g} and {MOST:g}")
    ends = Range(number(low), number(high), log is not None)
    if ends.low >= ends.high or (ends.log and ends.low <= 0):
        raise SettingsError(
            f"--over {text}: a range goes up{', and by its logarithm from above 0' * ends.log}"
        )
    return ends


def _split(values: str) -> Iterator[str]:
    """At commas that are not in a list."""
    depth = start = 0
    for i, sign in enumerate(values):
        depth += (sign in OPENS) - (sign in CLOSES)
        if sign == "," and not depth:
            yield values[start:i]
            start = i + 1
    yield values[start:]


def _choice(key: str, text: str, origin: str) -> Choice:
    name, named, rest = text.partition(": ")
    first, *others = re.split(rf"\+(?={KEY}=)", rest.strip() if named else text)
    if not first:
        raise SettingsError(f"--over {origin}: an empty value")
    itself = first if re.match(rf"{KEY}=", first) else f"{key}={first}"
    tables, origins = override({}, [ABBREVIATIONS.get(part, part) for part in (itself, *others)])
    settings = {dotted: _value(tables, dotted) for dotted in origins}
    label = name.strip() if named else settings.get(key, first)
    if label != label:  # nan is not even itself, so that no cell would be found again by it
        raise SettingsError(f"--over {origin}: {first} is no number")
    return Choice(label if isinstance(label, int | float | str) else first, settings)


def _value(tables: dict[str, Any], dotted: str) -> Any:
    section, _, name = dotted.rpartition(".")
    return tables[section][name] if section else tables[name]


def grid(axes: Sequence[Axis]) -> Iterator[tuple[Point, Settings]]:
    """Every combination of the axes' choices. Where two set the same key, the later axis wins.

    Raises:
        SettingsError: one of them is a range.
    """
    for axis in axes:
        if axis.range:
            raise SettingsError(
                f"--over {axis.key}={axis.range.label}: a range is for --search; a grid needs "
                "its values, as 1,2,3"
            )
    for choices in product(*(axis.choices for axis in axes)):
        point = {axis.key: choice.label for axis, choice in zip(axes, choices, strict=True)}
        settings: Settings = {}
        for choice in choices:
            settings |= choice.settings
        yield point, settings
