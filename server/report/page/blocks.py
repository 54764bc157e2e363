"""What a report is made of; each form (HTML, Markdown) renders the same blocks."""

import math
from dataclasses import dataclass

from server.report.figures.panel import Drawing
from server.report.words.units import Cell, Num


@dataclass(frozen=True)
class Prose:
    """A paragraph. `kind` is `note` for what the reader must not miss."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table. The first column names the row.

    Attributes:
        folded: behind a summary that can be opened.
        bars: columns whose numbers are also drawn, from 0 to the column's greatest.
        shaded: numbers are also shades: each its share of its row.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False
    bars: tuple[str, ...] = ()
    shaded: bool = False

    def drawn(self, row: tuple[Cell, ...], column: int) -> float | None:
        """How much of its cell a number fills; None of what is not drawn."""
        cell = row[column]
        if not isinstance(cell, Num) or not (self.shaded or self.columns[column] in self.bars):
            return None
        others = row if self.shaded else tuple(other[column] for other in self.rows)
        values = [o.value for o in others if isinstance(o, Num) and math.isfinite(o.value)]
        whole = sum(values) if self.shaded else max(values, default=0.0)
        return max(0.0, cell.value / whole) if whole > 0 and math.isfinite(cell.value) else None

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(
            any(isinstance(row[i], Num) for row in self.rows) for i in range(len(self.columns))
        )


@dataclass(frozen=True)
class Panel:
    """A figure, what it says, and the same numbers as a table."""

    title: str
    drawing: Drawing
    caption: str
    table: Table


@dataclass(frozen=True)
class Picture:
    """A PNG of an attack, with what its rows are and how near it came."""

    title: str
    path: str
    png: bytes
    rows: tuple[str, ...]
    caption: str
    table: Table


@dataclass(frozen=True)
class Commands:
    """Command lines; `why` says what they bring."""

    why: str
    lines: tuple[str, ...]
    folded: bool = False


Block = Prose | Table | Panel | Picture | Commands


@dataclass(frozen=True)
class Section:
    """A chapter; of a run's evidence, a part."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Dossier:
    """All evidence of one run: parts, each opened by itself.

    Attributes:
        about: what it is, in a line.
    """

    key: str
    title: str
    about: str
    parts: tuple[Section, ...]
