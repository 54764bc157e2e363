"""Numbers as people read them: one way for each kind, units always, a true minus sign.

A cell of a table keeps the exact number beside what is shown.
"""

import math
from dataclasses import dataclass

from server.report.facts.findings import Interval

NONE = "–"
SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"))
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SPACE = "\u00a0"  # between a number and its unit: never a line break


@dataclass(frozen=True)
class Num:
    """A number and how it is shown."""

    text: str
    value: float


Cell = Num | str


def number(value: float | None, digits: int = 3) -> Cell:
    """A plain number: `digits` significant ones, never an exponent for what is near one."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return Num("infinite" if value > 0 else "not a number", value)
    if value and not 1e-3 <= abs(value) < 1e6:
        return Num(power(value, digits), value)
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return Num(_minus(f"{value:,.{places}f}"), value)


def power(value: float, digits: int = 3) -> str:
    """As a power of ten: `1.25 × 10⁻⁵`, `10⁻⁵`."""
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    ten = f"10{str(int(exponent)).translate(RAISED)}"
    short = mantissa.rstrip("0").rstrip(".")
    return ten if short == "1" else _minus(f"{short}{SPACE}×{SPACE}{ten}")


def scale(greatest: float) -> tuple[float, str]:
    """Factor and prefix in which an axis that reaches `greatest` is read most easily."""
    return next(((f, p) for f, p in SI if greatest >= f), (1e-9, "n"))


def count(value: int | None) -> Cell:
    """A whole number."""
    return NONE if value is None else Num(_minus(f"{value:,}"), value)


def percent(value: float | None, places: int = 2) -> Cell:
    """A share."""
    return NONE if value is None else Num(_minus(f"{value * 100:.{places}f}{SPACE}%"), value)


def points(value: float | None) -> Cell:
    """A difference of shares, in percentage points."""
    return NONE if value is None else Num(_minus(f"{value * 100:.2f}"), value)


def si(value: float | None, unit: str) -> Cell:
    """With a prefix: `1.23 ms`."""
    if value is None:
        return NONE
    for factor, prefix in SI:
        # 999.6 would be shown as 1000
        if abs(value) >= factor * 0.9995:
            return Num(_minus(f"{_three(value / factor)}{SPACE}{prefix}{unit}"), value)
    return Num(
        _minus(f"{_three(value * 1e9)}{SPACE}n{unit}") if value else f"0{SPACE}{unit}", value
    )


def _three(value: float) -> str:
    """Three significant digits, without an exponent."""
    places = max(0, 2 - math.floor(math.log10(abs(value) * 1.0005))) if value else 0
    return f"{value:.{min(places, 6)}f}"


def share(found: Interval | None) -> Cell:
    """A share and its interval: `0.5 % (0.4 to 0.6)`."""
    if found is None:
        return NONE
    text = f"{found.value * 100:.1f}{SPACE}% ({found.low * 100:.1f} to {found.high * 100:.1f})"
    return Num(_minus(text), found.value)


def ratio(found: Interval | None) -> Cell:
    """A plain figure and its interval: `0.504 (0.496 to 0.511)`."""
    if found is None:
        return NONE
    return Num(_minus(f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"), found.value)


def estimate(found: Interval, unit: str = "") -> tuple[str, str]:
    """A figure, and its interval where there is one, in as many digits as the interval justifies:
    the last that is shown is the first of its half-width.

    Args:
        unit: `%` of a share, `s` or `J` of what takes a prefix.
    """
    half = (found.high - found.low) / 2 * (100 if unit == "%" else 1)
    if unit in ("s", "J"):
        return text(si(found.value, unit)), ""
    if half <= 0:
        return text(percent(found.value) if unit == "%" else number(found.value)), ""
    factor, places = 100 if unit == "%" else 1, min(6, max(0, -math.floor(math.log10(half) + 1e-9)))
    value, low, high = (f"{factor * x:z,.{places}f}" for x in (found.value, found.low, found.high))
    return _minus(value + f"{SPACE}{unit}".rstrip(SPACE)), _minus(f"{low} to {high}")


def text(cell: Cell) -> str:
    """What is shown."""
    return cell.text if isinstance(cell, Num) else cell


def _minus(shown: str) -> str:
    return shown.replace("-", "−")
