"""A sweep as a row of the page: how far each cell came, and when the last may be done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from privacy.text import shown
from server.sweep.document import FILE, SUFFIX, Cell, Document
from server.watch.locks import Lock, lock_of
from server.watch.rows import Kept, Row, RunView, id_of, look_at, name_to_show

MOST_SWEEP_BYTES = 16 << 20
MOST_CELLS = 200  # that are shown, and 40 curves of them
MOST_CURVES = 40


def _document(content: bytes) -> Document:
    return Document.from_json(content.decode())


@dataclass
class SweepView:
    """The folder of a sweep.

    Attributes:
        row: what the page's list says of it.
        changed: the look in which the row last became another.
    """

    path: Path
    row: Row = field(default_factory=dict)
    changed: int = 0
    _kept: Kept = field(default_factory=lambda: Kept(_document, MOST_SWEEP_BYTES))

    @property
    def cells(self) -> list[Cell]:
        """Its cells; none if its file is damaged."""
        return self._kept.value.cells if self._kept.value else []

    def look(self, locks: frozenset[Lock], runs: Mapping[str, RunView]) -> None:
        """Bring the row up to date.

        Args:
            runs: by the name of their directory.
        """
        file, lock = look_at(self.path / FILE), look_at(self.path / ".lock")
        document = self._kept.of(self.path / FILE, file)
        held = lock is not None and lock_of(lock) in locks
        counts = Counter(cell.status for cell in self.cells)
        mine = [view for cell in self.cells if (view := runs.get(cell.run or ""))]
        active = any(view.row.get("state") == "running" for view in mine)
        left = counts["pending"] + counts["running"]
        if document is None:
            state = "damaged"
        elif held or (active and left):
            state = "running"
        else:
            state = "stopped" if left else "finished"
        self.row = {
            "id": id_of(self.path.name),
            "name": name_to_show(self.path.name.removesuffix(SUFFIX)),
            "state": state,
            "why": "" if document else f"{FILE}: cannot be read",
            "search": bool(document and document.search),
            "cells": len(self.cells),
            "counts": dict(counts),
            "axes": [shown(key) for key in list(document.axes)[:8]] if document else [],
            "wrote": file.st_mtime if file else 0.0,
            "created": min((view.row["created"] for view in mine), default=0.0)
            or (file.st_mtime if file else 0.0),
            "left_s": _left(mine, left) if state == "running" else None,
            # the page asks for cells again when what they stand on has changed
            "version": max((view.changed for view in mine), default=0),
        }

    def detail(self, runs: Mapping[str, RunView]) -> Row:
        """Each cell and what its run reached, and the curves of some."""
        cells = []
        for number, cell in enumerate(self.cells[:MOST_CELLS]):
            view = runs.get(cell.run or "")
            told: dict[str, Any] = {
                "name": shown(cell.name, 60),
                "status": cell.status,
                "error": shown(cell.error, 200) if cell.error else "",
                "stages": {shown(name, 16): stage.status for name, stage in cell.stages.items()},
                "run": None,
                "points": [],
            }
            if view and view.row:
                keys = ("accuracy", "epsilon", "target", "rounds", "of", "figure")
                told |= {"run": view.row["id"], **{key: view.row[key] for key in keys}}
                if number < MOST_CURVES:
                    step = max(1, len(view.track.points) // 64)
                    told["points"] = [
                        [point.round, point.accuracy]
                        for point in view.track.points[::-step][::-1]
                        if point.accuracy is not None
                    ]
            cells.append(told)
        return {"id": self.row["id"], "cells": cells, "more": len(self.cells) - len(cells)}


def _left(mine: list[RunView], left: int) -> float | None:
    """By the median time between the beginnings of its runs, whose stages are then done."""
    began = sorted({view.row["created"] for view in mine})
    gaps = [after - before for before, after in pairwise(began)]
    return left * median(gaps) if gaps else None
