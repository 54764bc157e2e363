"""A value of a foreign document -> a value of ours, or why it is none.

What privet itself writes passes; a file that was cut, edited or written by another program is
refused before anything is computed from it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from privacy.text import BRIEF
from server.report.facts.findings import Interval

MOST = 1e100  # of any unit: sums and products of what is below it are finite
UNREADABLE = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError,
)  # fmt: skip


class Misread(ValueError):
    """A value that is not what its place wants."""

    def __init__(self, value: object, wanted: str) -> None:
        told = ascii(value)
        super().__init__(f"{told[:BRIEF]}{'...' * (len(told) > BRIEF)} is not {wanted}")


def number(value: object, low: float = -MOST, high: float = MOST) -> float:
    """A number in [low, high].

    Raises:
        Misread: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misread(value, "a number")
    if not math.isfinite(value):
        raise Misread(value, "finite")
    if not low <= value <= high:
        raise Misread(value, f"a number from {low:g} to {high:g}")
    return float(value)


def amount(value: object) -> float:
    """Seconds, joules, bytes, epsilons: a number of 0 or more; raises Misread."""
    return number(value, 0.0)


def share(value: object) -> float:
    """A number in [0, 1]; raises Misread."""
    return number(value, 0.0, 1.0)


def count(value: object) -> int:
    """A whole number of 0 or more; raises Misread."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST:
        raise Misread(value, "a count")
    return value


def flag(value: object) -> bool:
    """True or false; raises Misread."""
    if not isinstance(value, bool):
        raise Misread(value, "true or false")
    return value


def text(value: object) -> str:
    """Text that can be written; raises Misread."""
    if not isinstance(value, str):
        raise Misread(value, "text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Misread(value, "text of Unicode's characters") from None
    return value


def listed(value: object) -> Sequence[Any]:
    """A JSON array; raises Misread."""
    if not isinstance(value, list | tuple):
        raise Misread(value, "a list")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of texts; raises Misread."""
    return tuple(map(text, listed(value)))


def table(value: object) -> Mapping[str, Any]:
    """A JSON object; raises Misread."""
    if not isinstance(value, dict):
        raise Misread(value, "an object")
    for key in value:
        text(key)
    return value


def share_or_none(value: object) -> float | None:
    """A number in [0, 1], or None where nothing was measured; raises Misread."""
    return None if value is None else share(value)


def likeness(value: object) -> float:
    """A measure of how like images are: infinite of equal ones, in decibels; raises Misread."""
    return math.inf if value == math.inf else number(value)


def interval(value: object, least: float = 0.0) -> Interval:
    """{"value", "low", "high"} of a share, or of a difference of shares (`least` is -1). The ends
    are estimates too, and may lie beyond what a share can be.

    Raises:
        KeyError, Misread: it is none.
    """
    about = table(value)
    ends = (number(about[key], -2.0, 2.0) for key in ("low", "high"))
    return Interval(number(about["value"], least, 1.0), *ends)


def difference(value: object) -> Interval:
    """{"value", "low", "high"} in any unit; raises KeyError, Misread."""
    about = table(value)
    return Interval(*(number(about[key]) for key in ("value", "low", "high")))


def why(error: Exception) -> str:
    """What is wrong with a document, of one of `UNREADABLE`."""
    if isinstance(error, KeyError):
        return f"{ascii(error.args[0])[:BRIEF]} is missing"
    return str(error) if isinstance(error, Misread) else "it is not as privet writes it"
