"""A sweep's directory -> its cells and runs, as a report tells them."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import RunError
from privacy.files import is_file
from server.report.facts.facts import Cell
from server.run.directory import Run
from server.sweep.document import FILE, SUFFIX
from server.sweep.document import Cell as SweepCell
from server.sweep.sweep import Sweep

Stages = tuple[tuple[str, str], ...]

FREE = (
    "each epsilon is of one run alone: to choose among a sweep's runs by what they reached is not "
    "charged to it (privet sweep --charge does); the test set by which one would choose is taken "
    "as public"
)


@dataclass(frozen=True)
class SweepFacts:
    """A sweep.

    Attributes:
        runs: that are there, each with the stages that failed in it.
        searched: what is to be said of whoever chooses one of several runs; empty of one.
        lost: names of runs that are said to be done and are not there.
    """

    name: str
    command: str
    cells: tuple[Cell, ...]
    runs: tuple[tuple[Run, Stages], ...]
    searched: str
    lost: tuple[str, ...]


def sweep_folder(name: str, runs: Path) -> Path | None:
    """The directory of the sweep called `name`; None if it is not one."""
    for path in (runs / f"{name}{SUFFIX}", runs / name, Path(name)):
        if is_file(path / FILE):
            return path
    return None


def read_sweep(folder: Path) -> SweepFacts:
    """Read `sweep.json`.

    Raises:
        RunError: it is damaged, or a charged search that goes on.
    """
    sweep = Sweep.open(folder)
    if sweep.document.charge and not sweep.document.charge.ended:
        raise RunError(
            f"{folder}: a charged search that goes on: nothing of it may be told before one run is "
            "chosen; finish it with the command that began it"
        )
    runs = {run.path.name: run for run in sweep.runs}
    done = [cell.run for cell in sweep.cells if cell.run and cell.status == "done"]
    failed = {cell.run: _failed(cell) for cell in sweep.cells if cell.run}
    return SweepFacts(
        name=folder.name.removesuffix(SUFFIX),
        command=shlex.join(sweep.document.command),
        cells=tuple(_cell(folder.name.removesuffix(SUFFIX), cell) for cell in sweep.cells),
        runs=tuple((run, failed[name]) for name, run in runs.items()),
        searched=FREE * (len(runs) > 1),
        lost=tuple(name for name in done if name not in runs),
    )


def _cell(sweep: str, cell: SweepCell) -> Cell:
    settings = ", ".join(f"{key}={value}" for key, value in cell.settings.items())
    status, error = cell.status, cell.error or ""
    labels = tuple((axis, str(label)) for axis, label in cell.point.items())
    return Cell(sweep, settings, cell.seed, status, error, cell.run or "", labels)


def _failed(cell: SweepCell) -> Stages:
    return tuple(
        (name, stage.error or "no reason was kept")
        for name, stage in cell.stages.items()
        if stage.status == "failed" and name != "run"
    )
