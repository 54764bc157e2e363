"""What a report is made of; each form (HTML, Markdown) renders the same blocks."""

from dataclasses import dataclass

import plotly.graph_objects as go

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
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(
            any(isinstance(row[i], Num) for row in self.rows) for i in range(len(self.columns))
        )


@dataclass(frozen=True)
class Panel:
    """A figure, what it says, and the same numbers as a table."""

    key: str
    title: str
    figure: go.Figure
    caption: str
    table: Table
    narrow: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG of an attack, with what its rows are and how near it came."""

    title: str
    path: str
    png: bytes
    rows: tuple[str, ...]
    caption: str
    table: Table
    narrow: bool = False


@dataclass(frozen=True)
class Commands:
    """Command lines; `why` says what they bring."""

    why: str
    lines: tuple[str, ...]
    folded: bool = False


Block = Prose | Table | Panel | Picture | Commands


@dataclass(frozen=True)
class Section:
    """A chapter."""

    key: str
    title: str
    blocks: tuple[Block, ...]
