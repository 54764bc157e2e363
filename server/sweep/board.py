"""The progress table of a sweep: on a terminal it is redrawn, elsewhere each cell is a line."""

import time
from collections import Counter

from rich.live import Live
from rich.table import Table
from rich.text import Text

from privacy.errors import PrivetError
from server.console import err
from server.run.rounds import RoundRecord
from server.run.summary import summarise
from server.sweep.document import Cell
from server.sweep.objectives import auc_of
from server.sweep.sweep import Sweep

ROWS = 16  # that are shown of a long sweep
STYLES = {"done": "green", "failed": "red", "running": "bold", "pruned": "yellow", "pending": "dim"}


class Board:
    """Shows a sweep while it is done.

    Args:
        planned: how many cells there will be; of a search, how many are trained.
        closed: tell of no cell what it reached.
    """

    def __init__(self, sweep: Sweep, planned: int, *, closed: bool = False) -> None:
        self._sweep, self._planned, self._closed = sweep, planned, closed
        self._doing = ""
        self._seconds: dict[int, float] = {}
        self._reached: dict[int, tuple[str, str, str]] = {}
        self._began = time.monotonic()
        self._live = Live(get_renderable=self.table, console=err, refresh_per_second=2)

    def __enter__(self) -> "Board":
        if err.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if err.is_terminal:
            self._live.stop()

    # ---- server.sweep.sweep.Watch

    def begin(self, cell: Cell) -> None:
        """Work on a cell begins."""
        self._began, self._doing = time.monotonic(), "run ..."

    def tell(self, text: str) -> None:
        """What is done just now."""
        self._doing = text

    def observe(self, record: RoundRecord) -> None:
        """A round is done."""
        self._doing = f"round {record.round}"

    def end(self, cell: Cell) -> None:
        """No more work on a cell."""
        key = id(cell)
        self._seconds[key] = time.monotonic() - self._began
        self._reached[key] = self._read(cell)
        self._doing = ""
        if not err.is_terminal:
            accuracy, epsilon, leakage = self._reached[key]
            number = self._sweep.cells.index(cell) + 1
            what = f"accuracy {accuracy}, epsilon {epsilon}, AUC {leakage}"
            what = cell.status if self._closed else what
            said = what if cell.status == "done" else f"{cell.status}: {cell.error}"
            err.print(
                f"[{number}/{self._planned}] {cell.name}: {said} ({self._seconds[key]:.0f} s)",
                highlight=False,
                soft_wrap=True,
            )

    # ----

    def table(self) -> Table:
        """All cells, or those around the one that is being done."""
        cells = self._sweep.cells
        counts = Counter(cell.status for cell in cells)
        left = max(0, self._planned - counts["done"] - counts["failed"])
        title = f"{self._sweep.path.name}: {counts['done']} of {self._planned} done"
        title += "".join(f", {counts[s]} {s}" for s in ("failed", "pruned") if counts[s])
        if left and self._seconds:
            spent = sum(self._seconds.values()) / len(self._seconds)
            title += f", about {spent * left / 60:.0f} min left"
        table = Table(title=title, title_justify="left")
        for key in self._sweep.document.axes:
            table.add_column(key.rpartition(".")[2] if key.count("name") == 0 else key)
        for name in ("seed", "accuracy", "epsilon", "AUC", "state"):
            table.add_column(name, no_wrap=name != "state")
        for cell in self._shown(cells):
            state = Text(self._state(cell), style=STYLES[cell.status])
            labels = [Text(_short(label)) for label in cell.point.values()]
            reached = self._reached.get(id(cell), ("", "", ""))
            table.add_row(*labels, str(cell.seed), *reached, state)
        return table

    @staticmethod
    def _shown(cells: list[Cell]) -> list[Cell]:
        if len(cells) <= ROWS:
            return cells
        at = next((i for i, c in enumerate(cells) if c.status == "running"), len(cells))
        first = min(max(0, at - ROWS // 2), len(cells) - ROWS)
        return cells[first : first + ROWS]

    def _state(self, cell: Cell) -> str:
        if cell.status == "running":
            return f"{self._doing} {time.monotonic() - self._began:.0f} s"
        if cell.status in ("failed", "pruned"):
            return f"{cell.status}: {cell.error}"
        seconds = self._seconds.get(id(cell))
        return cell.status if seconds is None else f"{cell.status}, {seconds:.0f} s"

    def _read(self, cell: Cell) -> tuple[str, str, str]:
        if not cell.run or self._closed:
            return "-", "-", "-"
        run = self._sweep.run_of(cell)
        try:
            facts = summarise(run)
        except PrivetError:
            return "-", "-", "-"
        leakage = auc_of(run)
        return (
            "-" if facts.accuracy is None else f"{facts.accuracy:.2%}",
            "none" if facts.epsilon is None else f"{facts.epsilon:.2f}",
            "-" if leakage is None else f"{leakage:.3f}",
        )


def _short(label: object) -> str:
    return f"{label:.4g}" if isinstance(label, float) else str(label)
