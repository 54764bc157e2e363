"""The matrix of the first screen: axes by what was promised, a figure and its interval a cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from server.report.facts.facts import RunFacts
from server.report.facts.findings import Interval
from server.report.facts.scores import Axis, Score, axes_of, scores_of
from server.report.page.blocks import Table
from server.report.words.labels import promise_words
from server.report.words.units import Cell, Num, estimate, number, text

COLUMNS, ROWS = 6, 8  # of promises, and of series on one axis
QUIET = {"", "no promise"}  # a row of these alone is left out


@dataclass(frozen=True)
class Shown:
    """A cell: what it says, and where it stands on its axis' scale, as shares of that.

    Attributes:
        score: what is shown, as `figure` and, in brackets, what is `more`: its interval, what it
            is a part of, or the score that stands beside it.
        target: the evidence that a click opens.
        low, at, high: of the bar; `limit` of what it is a part of.
    """

    score: Score
    figure: str
    more: str
    target: str
    low: float
    at: float
    high: float
    limit: float | None

    @property
    def said(self) -> str:
        """Why there is no figure, or what is wrong with it."""
        return self.score.words or "leaks most" * (self.score.state == "most")

    @property
    def words(self) -> str:
        """All of it in a line."""
        more = f"({self.more})" if self.more else ""
        return " ".join(filter(None, (self.figure, more, self.said)))


@dataclass(frozen=True)
class Row:
    """A series on an axis: a cell a column, None where there is no run."""

    series: str
    about: str
    cells: tuple[Shown | None, ...]


@dataclass(frozen=True)
class Band:
    """An axis: its rows, the ends of the scale that they share, and of what there is no figure."""

    axis: Axis
    scale: str
    rows: tuple[Row, ...]
    absent: str


@dataclass(frozen=True)
class Matrix:
    """All of it; `left_out` says what of it had no room."""

    columns: tuple[str, ...]
    bands: tuple[Band, ...]
    left_out: str


def matrix_of(runs: Sequence[RunFacts], targets: Mapping[str, str]) -> Matrix:
    """Scores as bands of rows.

    Args:
        targets: name of a run -> what stands before the name of a part in the id of its evidence.
    """
    scores, axes = scores_of(runs), {axis.key: axis for axis in axes_of(runs)}
    promises = sorted({r.promise for r in runs}, key=lambda p: (p is not None, -(p or 0.0)))
    columns = _spread([promise_words(p) for p in promises], COLUMNS)
    about = {run.series: run.about for run in reversed(runs)}
    second = {axis.beside for axis in axes.values()}
    bands = tuple(
        _band(axis, axes, scores, columns, about, targets)
        for axis in axes.values()
        if axis.key not in second
    )
    promised = f"{len(columns)} of {len(promises)} promises" * (len(columns) < len(promises))
    series = len({score.series for score in scores})
    rows = f"{ROWS} of {series} series on an axis" * (series > ROWS)
    return Matrix(tuple(columns), bands, " and ".join(filter(None, (promised, rows))))


def as_table(matrix: Matrix) -> Table:
    """The same without bars."""
    rows: list[tuple[Cell, ...]] = []
    for band in matrix.bands:
        for row in band.rows:
            cells = (_plain(cell) for cell in row.cells)
            rows.append((f"{band.axis.name}, {row.series}", *cells))
        if band.absent:
            rows.append((f"{band.axis.name}, {band.absent}", *("" for _ in matrix.columns)))
    return Table("Figures and their 95 % intervals", ("axis, run", *matrix.columns), tuple(rows))


def _plain(cell: Shown | None) -> Cell:
    if cell is None:
        return ""
    interval = cell.score.interval
    return cell.words if interval is None else Num(cell.words, interval.value)


def _spread(columns: list[str], most: int) -> list[str]:
    """At most so many, the first and the last among them."""
    distinct = list(dict.fromkeys(columns))
    if len(distinct) <= most:
        return distinct
    return [distinct[round(i * (len(distinct) - 1) / (most - 1))] for i in range(most)]


def _band(
    axis: Axis,
    axes: Mapping[str, Axis],
    scores: Sequence[Score],
    columns: Sequence[str],
    about: Mapping[str, str],
    targets: Mapping[str, str],
) -> Band:
    mine = [score for score in scores if score.axis == axis.key and score.promise in columns]
    ends = _ends([score for score in mine if score.interval], axis)
    others = {_place(s): _beside(s, axes) for s in scores if s.axis == axis.beside}
    rows: dict[str, dict[str, Shown]] = {}
    for score in mine:
        shown = _shown(score, axis, others.get(_place(score), ""), ends, targets)
        names = (score.series + f" #{n}" * (n > 1) for n in count(1))
        name = next(n for n in names if score.promise not in rows.get(n, {}))
        rows.setdefault(name, {})[score.promise] = shown
    told, absent = [], dict[str, list[str]]()
    for name, cells in rows.items():
        if any(cell.figure for cell in cells.values()):
            words = about.get(name, "") if axis is next(iter(axes.values())) else ""  # once
            told.append(Row(name, words, tuple(cells.get(column) for column in columns)))
        else:
            for why in {cell.score.words for cell in cells.values()} - QUIET:
                absent.setdefault(why, []).append(name)
    said = "; ".join(f"{why}: {', '.join(names)}" for why, names in absent.items())
    return Band(axis, _scale(ends, axis) if told else "", tuple(told[:ROWS]), said)


def _place(score: Score) -> tuple[str, str, str]:
    return score.work, score.series, score.promise


def _beside(score: Score | None, axes: Mapping[str, Axis]) -> str:
    """A score that is shown with another."""
    if score is None or score.interval is None:
        return ""
    return ", ".join(filter(None, estimate(score.interval, axes[score.axis].unit)))


def _ends(scores: Sequence[Score], axis: Axis) -> tuple[float, float]:
    found = [s.interval for s in scores if s.interval]
    low = min([one.low for one in found] + ([] if axis.zero is None else [axis.zero]), default=0.0)
    high = max([one.high for one in found] + [s.limit or low for s in scores], default=1.0)
    return low, high if high > low else low + 1.0


def _scale(ends: tuple[float, float], axis: Axis) -> str:
    """The ends of the bars, in the digits that tell them apart."""
    middle = Interval(sum(ends) / 2, *ends)
    if axis.unit in ("s", "J"):
        return " to ".join(estimate(Interval(end, end, end), axis.unit)[0] for end in ends)
    unit = "\u00a0%" if axis.unit == "%" else ""
    return estimate(middle, axis.unit)[1] + unit


def _shown(
    score: Score,
    axis: Axis,
    beside: str,
    ends: tuple[float, float],
    targets: Mapping[str, str],
) -> Shown:
    target = f"{targets[score.run]}{axis.part}" if score.run in targets else ""
    found, (low, high) = score.interval, ends
    if found is None:
        return Shown(score, "", "", target, 0.0, 0.0, 0.0, None)

    def on(value: float) -> float:
        return min(1.0, max(0.0, (value - low) / (high - low)))

    figure, interval = estimate(found, axis.unit)
    whole = "" if score.limit is None else f"of {text(number(score.limit))} claimed"
    limit = None if score.limit is None else on(score.limit)
    more = interval or whole or beside
    return Shown(score, figure, more, target, on(found.low), on(found.value), on(found.high), limit)
