"""A sweep as lines of JSON on stdout, while it is done: each cell's beginning, rounds and end."""

from collections.abc import Callable
from typing import Any

from server.console import events_of, tell_event
from server.run.rounds import RoundRecord
from server.sweep.document import Cell
from server.sweep.sweep import Sweep


class Events:
    """Tells programs of a sweep, as `server.sweep.board.Board` tells people.

    Args:
        planned: how many cells there will be; of a search, how many are trained.
        closed: tell of no cell.
    """

    def __init__(self, sweep: Sweep, planned: int, *, closed: bool = False) -> None:
        self._sweep, self._planned, self._closed = sweep, planned, closed
        self._cell: dict[str, Any] = {}
        self._event: Callable[[RoundRecord], dict[str, Any]] | None = None

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    # ---- server.sweep.sweep.Watch

    def begin(self, cell: Cell) -> None:
        """Work on a cell begins."""
        self._cell, self._event = self._of(cell), None
        self._tell({"event": "cell", **self._cell, "status": "running"})

    def tell(self, text: str) -> None:
        """What is done just now."""
        self._tell({"event": "stage", **self._cell, "doing": text})

    def observe(self, record: RoundRecord) -> None:
        """A round is done."""
        if self._event is None:
            run = self._sweep.run_of(self._sweep.cells[self._cell["cell"] - 1])
            self._event = events_of(run.experiment.federation.rounds)
        self._tell(self._event(record) | self._cell)

    def end(self, cell: Cell) -> None:
        """No more work on a cell."""
        stages = {name: stage.status for name, stage in cell.stages.items()}
        told = {"status": cell.status, "error": cell.error, "run": cell.run, "stages": stages}
        self._tell({"event": "cell", **self._of(cell), **told})

    # ----

    def _of(self, cell: Cell) -> dict[str, Any]:
        number = self._sweep.cells.index(cell) + 1
        return {"cell": number, "cells": self._planned, "name": cell.name}

    def _tell(self, told: dict[str, Any]) -> None:
        if not self._closed:
            tell_event(told)
