"""Many experiments, one table: a sweep is a folder beside its runs, and in it sweep.json.

    sweep = Sweep.open("runs/dp-1f3a9b2c.sweep")
    sweep.cells, sweep.runs

A cell is one run, named after the digest of its settings: two sweeps that ask for the same settings
share the run, and what is done is not done again. What a cell's stages have found is in its run;
sweep.json says how far each came, and is written whole or not at all.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clients.data.sets import load
from privacy.errors import Interrupted, PrivetError, RunError, SettingsError
from privacy.files import held, write_atomically
from server.console import watched_by
from server.experiment.experiment import Experiment, load_experiment
from server.run.directory import Run
from server.run.rounds import RoundRecord
from server.sweep.axes import Axis, Point, Settings, grid
from server.sweep.stages import STAGES, Order, stages_of, train

FILE = "sweep.json"
SUFFIX = ".sweep"
# What does not change what a run finds: cells that differ in it alone are one.
INCIDENTAL = {"title": True, "federation": {"workers", "timeout_s"}}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StageState(_Part):
    """How far a stage of a cell came."""

    status: Literal["pending", "done", "failed"] = "pending"
    error: str | None = None


class Cell(_Part):
    """One run of a sweep.

    Attributes:
        settings: by dotted key, what the axes set.
        point: the label of each axis.
        digest: of all settings; its run is named after it.
        run: name of the run directory; None while there is none.
        status: `pruned`: a search did not train it, because it breaks a limit.
        stages: run, and those that were ordered and can be done.
        figures: what a search judged it by.
    """

    settings: dict[str, Any]
    point: dict[str, Any]
    seed: int
    digest: str
    run: str | None = None
    status: Literal["pending", "running", "done", "failed", "pruned"] = "pending"
    error: str | None = None
    stages: dict[str, StageState] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """For people: the axes' labels and the seed."""
        said = [
            f"{key.rpartition('.')[2]} {label}".removeprefix("name ")
            for key, label in self.point.items()
        ]
        return ", ".join([*said, f"seed {self.seed}"])


class Searched(_Part):
    """What a search looked for, and the cells that nothing it tried is better than."""

    objectives: dict[str, str]
    limits: list[str]
    seeds: int
    front: list[str] = Field(default_factory=list)


class Document(_Part):
    """sweep.json."""

    format: Literal[1] = 1
    experiment: str
    command: list[str]
    fixed: list[str]
    axes: dict[str, list[Any]]
    cells: list[Cell] = Field(default_factory=list)
    search: Searched | None = None


class Watch(Protocol):
    """Who looks on: `server.sweep.board.Board`."""

    def begin(self, cell: Cell) -> None:
        """Work on a cell begins."""

    def tell(self, text: str) -> None:
        """What is done just now."""

    def observe(self, record: RoundRecord) -> None:
        """A round is done."""

    def end(self, cell: Cell) -> None:
        """No more work on a cell."""


class Sweep:
    """A sweep's folder."""

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.document = document

    @classmethod
    def open(cls, path: Path | str) -> "Sweep":
        """Open an existing sweep.

        Raises:
            RunError: there is none, or its file is damaged.
        """
        path = Path(path)
        try:
            text = (path / FILE).read_text(encoding="utf-8")
            return cls(path, Document.model_validate_json(text))
        except (OSError, UnicodeDecodeError):
            raise RunError(f"{path}: not a sweep; make one with: privet sweep") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise RunError(
                f"{path / FILE}: damaged at {place or 'its start'}: {first['msg']}; remove it and "
                "give the sweep's command again: runs that are done stay done"
            ) from None

    @property
    def cells(self) -> list[Cell]:
        """In the order in which they were, or will be, done."""
        return self.document.cells

    @property
    def runs(self) -> list[Run]:
        """The run directories that are there, finished or not."""
        names = dict.fromkeys(cell.run for cell in self.cells if cell.run)
        found = [Run(self.path.parent / name) for name in names if Path(name).name == name]
        return [run for run in found if (run.path / "experiment.toml").is_file()]

    def run_of(self, cell: Cell) -> Run:
        """The run of a cell, which may not be there yet."""
        stem = Path(self.document.experiment).stem
        return Run(self.path.parent / f"{stem}-{cell.digest}")

    def experiment_of(self, settings: Settings, seed: int | None = None) -> Experiment:
        """The experiment of a cell.

        Raises:
            SettingsError: it is none.
        """
        assignments = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        experiment = load_experiment(self.document.experiment, [*self.document.fixed, *assignments])
        if "budget.epsilon" in settings and experiment.budget.unit == "none":
            raise SettingsError(
                f"--over budget.epsilon={settings['budget.epsilon']}: it promises nothing under "
                "[budget] unit = 'none'; add -s budget.unit=record"
            )
        return experiment if seed is None else experiment.model_copy(update={"seed": seed})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep for writing; makes its folder.

        Raises:
            RunError: another process holds it, or it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None
        with held(self.path, "sweep"):
            for part in self.path.glob(".*.part"):
                part.unlink(missing_ok=True)
            yield

    def save(self) -> None:
        """Write sweep.json."""
        with write_atomically(self.path / FILE) as file:
            file.write(self.document.model_dump_json(indent=1).encode())

    # ---- doing

    def complete(self, cell: Cell, experiment: Experiment, order: Order, watch: Watch) -> None:
        """Do what is left of a cell; what fails is written into it, and is no error here.

        Raises:
            Interrupted: by the user; the cell goes on when the sweep does.
        """
        run = self.run_of(cell)
        wanted = [name for name, reason in stages_of(experiment, order).items() if not reason]
        cell.stages = {name: StageState() for name in ("run", *wanted)}
        cell.status, cell.error = "running", None
        watch.begin(cell)
        self._note(cell, run)
        try:
            with watched_by(watch.observe):
                if self._do(cell, "run", lambda: train(experiment, run.path)):
                    for name in wanted:
                        stage = STAGES[name]
                        if not stage.is_done(run, order):
                            watch.tell(f"{name} ...")
                            self._note(cell, run)
                            self._do(cell, name, lambda s=stage: s.do(run, order, watch.tell))  # type: ignore[misc]
                        else:
                            cell.stages[name].status = "done"
        except (KeyboardInterrupt, Interrupted):
            cell.status = "pending"
            self._note(cell, run)
            raise Interrupted("interrupted; go on with the same command") from None
        errors = [f"{name}: {s.error}" for name, s in cell.stages.items() if s.error]
        cell.status, cell.error = ("failed", "; ".join(errors)) if errors else ("done", None)
        self._note(cell, run)
        watch.end(cell)

    def _note(self, cell: Cell, run: Run) -> None:
        there = (run.path / "experiment.toml").is_file()
        cell.run = run.path.name if there else None
        self.save()

    @staticmethod
    def _do(cell: Cell, name: str, work: Callable[[], object]) -> bool:
        """Whatever goes wrong with one cell must not stop the others."""
        state = cell.stages[name]
        try:
            work()
        except Interrupted:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, PrivetError) else repr(error)
            state.status, state.error = "failed", " ".join(said.split())
            return False
        state.status = "done"
        return True


# ---- a grid


def digest_of(experiment: Experiment) -> str:
    """Of all settings that matter to what a run finds."""
    sections = experiment.model_dump(mode="json", exclude=INCIDENTAL)  # type: ignore[arg-type]
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()[:12]


def default_name(experiment: str, *asked: object) -> str:
    """Of a sweep: the same for the same question, so that the same command goes on."""
    text = json.dumps([experiment, *asked], sort_keys=True, default=repr)
    return f"{Path(experiment).stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def lay_out(sweep: Sweep, axes: Sequence[Axis], num_seeds: int) -> list[Experiment | None]:
    """Fill a sweep with the cells of a grid, all of the first seed first.

    Returns:
        The experiment of each cell; None where its settings do not go together, which the cell
        then says.

    Raises:
        SettingsError: a value with which no cell can be.
        DataError: data that are not here.
    """
    points = list(grid(axes))
    tried = [_try(sweep, settings) for _, settings in points]
    for axis in axes:
        for label in axis.labels:
            mine = [
                found
                for (point, _), found in zip(points, tried, strict=True)
                if point[axis.key] == label
            ]
            if mine and all(isinstance(found, SettingsError) for found in mine):
                what, said = f"--over {axis.key}=", str(mine[0])
                told = said.replace(f"-s {axis.key}=", what)
                raise SettingsError(told if what in told else f"{what}{label}: {said}")
    experiments: list[Experiment | None] = []
    sweep.document.cells = []
    for i in range(num_seeds):
        for (point, settings), found in zip(points, tried, strict=True):
            if isinstance(found, SettingsError):
                cell = refused(point, settings, i, str(found))
                experiments.append(None)
            else:
                experiment = found.model_copy(update={"seed": found.seed + i})
                cell = cell_of(point, settings, experiment)
                experiments.append(experiment)
            sweep.cells.append(cell)
    for data in {experiment.data for experiment in experiments if experiment}:
        load(data)
    return experiments


def _try(sweep: Sweep, settings: Settings) -> Experiment | SettingsError:
    try:
        return sweep.experiment_of(settings)
    except SettingsError as error:
        return error


def cell_of(point: Point, settings: Settings, experiment: Experiment) -> Cell:
    """A cell that waits."""
    return Cell(settings=settings, point=point, seed=experiment.seed, digest=digest_of(experiment))


def refused(point: Point, settings: Settings, seed: int, reason: str) -> Cell:
    """A cell whose settings do not go together."""
    said = " ".join(reason.split())
    return Cell(settings=settings, point=point, seed=seed, digest="", status="failed", error=said)


def left_out(sweep: Sweep, order: Order) -> Counter[str]:
    """Why a stage that was ordered is not done with some runs, and with how many."""
    reasons: Counter[str] = Counter()
    for cell in sweep.cells:
        if cell.run:
            stages = stages_of(sweep.run_of(cell).experiment, order)
            reasons.update(f"{name}: {reason}" for name, reason in stages.items() if reason)
    return reasons
