"""test.json -> what a run reached on its test set; the same errors as in `evidence`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.report.facts.values import Misread, count, listed, number, table, text

Document = Mapping[str, Any]
OF_CLASSES = ("recall", "precision", "F1", "AUROC", "average precision")


@dataclass(frozen=True)
class Measure:
    """A figure and the ends of its interval at 95 %, None where nothing could be drawn again."""

    value: float
    low: float | None
    high: float | None


Figures = tuple[tuple[str, Measure | None], ...]


@dataclass(frozen=True)
class OfClass:
    """What is reached on one class or label, of which there are so many test records."""

    name: str
    records: int
    figures: Figures


@dataclass(frozen=True)
class Reached:
    """What the last model reaches on the test set.

    Attributes:
        of, units: what intervals are drawn over, `records` or `persons`, and how many.
        unit: of figures of numbers; empty of none.
        figures: None where one is unknown.
        matrix: how often a class (rows, as in `classes`) was taken for a class (columns); empty of
            many classes.
        confused: (is, taken for, records), most first.
    """

    task: str
    records: int
    of: str
    units: int
    unit: str
    figures: Figures
    classes: tuple[OfClass, ...]
    matrix: tuple[tuple[int, ...], ...]
    confused: tuple[tuple[str, str, int], ...]


def reached(found: Document, rounds_done: int) -> Reached:
    """test.json, of a run of which so many rounds are done."""
    if count(found["round"]) != rounds_done:
        raise Misread(found["round"], f"the last round, {rounds_done}")
    drawn = table(found["resampled"])
    classes = tuple(_of_class(table(row)) for row in listed(found["classes"]))
    matrix = tuple(tuple(map(count, listed(row))) for row in listed(found.get("matrix", ())))
    if matrix and any(len(row) != len(classes) for row in (matrix, *matrix)):
        raise Misread(len(matrix), "a matrix of its classes")
    return Reached(
        task=text(found["task"]),
        records=count(found["records"]),
        of=text(drawn["of"]),
        units=count(drawn["units"]),
        unit=text(found.get("unit", "")),
        figures=tuple((name, _measure(value)) for name, value in table(found["figures"]).items()),
        classes=classes,
        matrix=matrix,
        confused=tuple(
            (text(pair["is"]), text(pair["taken_for"]), count(pair["records"]))
            for pair in listed(found.get("confused", ()))
        ),
    )


def _of_class(row: Document) -> OfClass:
    figures = tuple((name, _measure(row[name])) for name in OF_CLASSES if name in row)
    return OfClass(text(row["name"]), count(row["records"]), figures)


def _measure(about: object) -> Measure | None:
    if about is None:
        return None
    found = table(about)
    low, high = (None if found[end] is None else number(found[end]) for end in ("low", "high"))
    return Measure(number(found["value"]), low, high)
