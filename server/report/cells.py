"""A sweep's directory -> its cells: the one place of the report that knows sweep.json."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy.errors import RunError
from server.report.facts import Cell

Stages = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SweepFacts:
    """A sweep: its cells, and which stages failed in the runs they ended in."""

    name: str
    command: str
    cells: tuple[Cell, ...]
    failed_stages: dict[str, Stages]


def sweep_folder(name: str, runs: Path) -> Path | None:
    """The directory of the sweep called `name`; None if it is not one."""
    for path in (runs / f"{name}.sweep", runs / name, Path(name)):
        if (path / "sweep.json").is_file():
            return path
    return None


def read_sweep(folder: Path) -> SweepFacts:
    """Read `sweep.json`.

    Raises:
        RunError: it is damaged.
    """
    path = folder / "sweep.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        name = folder.name.removesuffix(".sweep")
        cells = tuple(_cell(name, about) for about in found["cells"])
        stages = {str(c["run"]): _failed(c) for c in found["cells"] if c.get("run")}
        command = shlex.join(map(str, found.get("command", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{path}: damaged; run the sweep again, it goes on where it was") from None
    return SweepFacts(name, command, cells, stages)


def _cell(sweep: str, about: dict[str, Any]) -> Cell:
    settings = ", ".join(f"{key}={value}" for key, value in about["settings"].items())
    return Cell(
        sweep=sweep,
        settings=settings,
        seed=int(about["seed"]),
        status=str(about["status"]),
        error=str(about.get("error") or ""),
        run=str(about.get("run") or ""),
    )


def _failed(about: dict[str, Any]) -> Stages:
    stages = about.get("stages") or {}
    return tuple(
        (str(stage), str(told.get("error") or "no reason was kept"))
        for stage, told in stages.items()
        if told.get("status") == "failed" and stage != "run"
    )
