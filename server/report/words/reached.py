"""Figures of merit in words, with their intervals, and over what those are drawn."""

from privacy.text import shown
from server.report.facts.reached import Measure, Reached
from server.report.words.units import NONE, Cell, Num, number, text

UNITLESS = ("R2",)
MOST_UNIT = 20  # characters


def measured(found: Measure | None) -> Cell:
    """A figure and its interval: `0.912 (0.897 to 0.926)`."""
    if found is None:
        return NONE
    value = text(number(found.value))
    if found.low is None or found.high is None:
        return Num(value, found.value)
    return Num(f"{value} ({text(number(found.low))} to {text(number(found.high))})", found.value)


def named(name: str, found: Reached) -> str:
    """A figure by its name, and in which unit it is: `MAE, kg`."""
    unit = shown(found.unit, MOST_UNIT) if found.unit and name not in UNITLESS else ""
    return f"{name}, {unit}" if unit else name


def drawn_over(found: Reached) -> str:
    """What was drawn again and again for the intervals."""
    if found.units < 2:
        return f"no interval: there is 1 of the {found.of}"
    return f"{found.units:,} {found.of}"


def in_a_line(found: Reached) -> str:
    """Every figure with its interval, for a terminal."""
    told = (f"{named(name, found)} {text(measured(one))}" for name, one in found.figures)
    return f"{', '.join(told)}; 95 % over {drawn_over(found)}"
