"""What is public of somebody's records: a schema, written by their owner.

Scaling and one-hot read it, and never the records' own least or mean: what is computed from
records before training is in no epsilon.
"""

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from privacy.settings import Range, Section

MOST_COLUMNS = 4096
MOST_VALUES = 65_536
MOST_RATE_HZ = 1e6
Bound = Annotated[float, Range(-1e30, 1e30)]


class Column(Section):
    """One column of a table: a number between bounds, or one of some values.

    Attributes:
        low, high: of a number. What lies outside is clipped, and counted.
        log: the number is read as log(1 + x - low), and whether it is `low` beside it: for amounts,
            most of which are nothing.
        knots: the number is also told by how near it is to each of so many points, equally far
            apart from `low` to `high` (of logarithms, if it is read as one): a model of products
            can bend there (linear splines). 0 is none.
        values: of a category. What is none of them is read as missing, and counted.
        missing: what stands for no value, besides the schema's own.
        unit: for people.
    """

    low: Bound | None = None
    high: Bound | None = None
    log: bool = False
    knots: Annotated[int, Range(2, 64, or_zero=True)] = 0
    values: tuple[str, ...] = Field(default=(), strict=False, max_length=MOST_VALUES)
    missing: tuple[str, ...] = Field(default=(), strict=False, max_length=64)
    unit: str = ""

    @field_validator("values", "missing", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        return _texts(given)

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "Column":
        if self.values:
            if self.low is not None or self.high is not None or self.log or self.knots:
                raise ValueError("has values, and bounds of a number: which is it?")
            if len(set(self.values)) < len(self.values):
                raise ValueError("a value is there twice")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("needs low and high, low < high; or values = [...]")
        return self

    def width(self, missing: bool) -> int:
        """Numbers that a model reads of it.

        Args:
            missing: the schema says what stands for no value anywhere.
        """
        if self.values:
            return len(self.values) + (missing or bool(self.missing))
        return 1 + self.log + bool(self.missing) + self.knots


class Schema(Section):
    """What is public of records: bounds of numbers, values of categories, names of labels.

    Attributes:
        columns: that a model may read, in their order; of windows and arrays, the channels.
        labels: what stands for class 0, 1, ... in the records.
        names: of the classes, for people; the labels themselves where there are none.
        unlabelled: what stands for no label: such records are left out.
        missing: what stands for no value in any category.
        low, high, unit: of the target, under `task = "number"`; the unit is for people.
        size: height and width of pictures, to which others are resized; channels: 1 or 3.
        rate_hz: samples a second of recordings and sounds.
        length_s: of a sound: longer ones are cut, shorter ones end in silence.
    """

    columns: dict[str, Column] = Field(default_factory=dict, max_length=MOST_COLUMNS)
    labels: tuple[str, ...] = Field(default=(), strict=False, max_length=MOST_VALUES)
    names: tuple[str, ...] = Field(default=(), strict=False, max_length=MOST_VALUES)
    unlabelled: tuple[str, ...] = Field(default=(), strict=False, max_length=64)
    missing: tuple[str, ...] = Field(default=(), strict=False, max_length=64)
    low: Bound | None = None
    high: Bound | None = None
    unit: str = ""
    size: tuple[int, int] | None = Field(default=None, strict=False)
    channels: Annotated[int, Range(1, 3)] = 3
    rate_hz: Annotated[float, Range(1e-6, MOST_RATE_HZ, or_zero=True)] = 0.0
    length_s: Annotated[float, Range(1e-3, 3600.0)] = 1.0

    @field_validator("labels", "names", "unlabelled", "missing", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        return _texts(given)

    @model_validator(mode="after")
    def _fits_together(self) -> "Schema":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: one is there twice")
        if self.names and len(self.names) != len(self.labels):
            raise ValueError(f"names: {len(self.names)} for {len(self.labels)} labels")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low = {self.low:g} and high = {self.high:g}: low must be less")
        if self.size is not None and not all(1 <= side <= 1 << 12 for side in self.size):
            raise ValueError("size: [height, width] from 1 to 4096")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of class 0, 1, ..."""
        return self.names or self.labels

    @property
    def widths(self) -> tuple[int, ...]:
        """Of each column, as a model reads it."""
        return tuple(column.width(bool(self.missing)) for column in self.columns.values())

    @property
    def meaning(self) -> dict[str, object]:
        """All that decides what the numbers mean that a model reads and gives, by name.

        Which words stand for no value or no label, and what is only shown, differs from file to
        file.
        """
        told: dict[str, object] = {"columns": tuple(self.columns)}
        for name, column in self.columns.items():
            missing = bool(column.missing or (column.values and self.missing))
            read = (column.low, column.high, column.log, column.knots, column.values, missing)
            told[f"columns.{name}"] = read
        for key in ("labels", "low", "high", "size", "channels", "rate_hz", "length_s"):
            told[key] = getattr(self, key)
        return told

    def __hash__(self) -> int:
        """Of its text: it holds a table."""
        return hash(self.model_dump_json())


def _texts(given: object) -> object:
    """Values as they stand in a file: `1` and `"1"` are the same."""
    if not isinstance(given, list | tuple):
        return given
    return [str(one) if isinstance(one, int | float) else one for one in given]


def log_of(low: float, high: float) -> float:
    """What log(1 + x - low) is at most."""
    return math.log1p(high - low)


def named(columns: Mapping[str, Column]) -> str:
    """A few of them, to be shown."""
    shown = ", ".join(list(columns)[:5])
    return f"{shown}, and {len(columns) - 5} more" if len(columns) > 5 else shown
