"""Many experiments, one table: a sweep is a folder beside its runs, and in it sweep.json.

    sweep = Sweep.open("runs/dp-1f3a9b2c.sweep")
    sweep.cells, sweep.runs

A cell is one run, named after the digest of its settings: two sweeps that ask for the same settings
share the run, and what is done is not done again. What a cell's stages have found is in its run;
sweep.json says how far each came, and is written whole or not at all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from privacy.documents import to_json
from privacy.errors import Interrupted, PrivetError, RunError, SettingsError
from privacy.files import held, write_atomically
from privacy.foreign import MOST_DOCUMENT_BYTES, read_foreign
from server.console import watched_by
from server.experiment.experiment import Experiment
from server.experiment.loading import load_experiment
from server.run.directory import Run
from server.run.rounds import RoundRecord
from server.sweep.axes import Settings
from server.sweep.cluster import Cluster
from server.sweep.document import FILE, TRIALS, Cell, Document, StageState
from server.sweep.stages import STAGES, Order, stages_of, train


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
    """A sweep's folder.

    Attributes:
        cluster: where its cells are done; None is here.
    """

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.document = document
        self.cluster: Cluster | None = None

    @classmethod
    def open(cls, path: Path | str) -> "Sweep":
        """Open an existing sweep.

        Raises:
            RunError: there is none, or its file is damaged.
        """
        path = Path(path)
        try:
            text = read_foreign(path / FILE, MOST_DOCUMENT_BYTES, follow=False).decode()
            return cls(path, Document.from_json(text))
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
    def home(self) -> Path:
        """The folder of its runs: of a charged search, a closed one until a run is chosen."""
        charge = self.document.charge
        return self.path / TRIALS if charge and not charge.ended else self.path.parent

    @property
    def runs(self) -> list[Run]:
        """The run directories that are there, finished or not."""
        names = dict.fromkeys(cell.run for cell in self.cells if cell.run)
        found = [Run(self.home / name) for name in names if Path(name).name == name]
        return [run for run in found if (run.path / "experiment.toml").is_file()]

    def run_of(self, cell: Cell) -> Run:
        """The run of a cell, which may not be there yet."""
        stem = Path(self.document.experiment).stem
        return Run(self.home / f"{stem}-{cell.digest}")

    def experiment_of(self, settings: Settings, seed: int | None = None) -> Experiment:
        """The experiment of a cell.

        Raises:
            SettingsError: it is none.
        """
        assignments = [f"{key}={to_json(value)}" for key, value in settings.items()]
        experiment = load_experiment(self.document.experiment, self.document.fixed, assignments)
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
            file.write(self.document.to_json().encode())

    # ---- doing

    def ask(self, cell: Cell, experiment: Experiment, order: Order) -> None:
        """Have a cell begun on the cluster, if there is one, and nothing of the cell is here."""
        if self.cluster and not (self.run_of(cell).path / "experiment.toml").is_file():
            self.cluster.ask(cell, experiment, self.document, order)

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
                if self._do(cell, "run", lambda: self._train(cell, experiment, order)):
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

    def _train(self, cell: Cell, experiment: Experiment, order: Order) -> None:
        run = self.run_of(cell)
        self.ask(cell, experiment, order)
        if self.cluster and not (run.path / "experiment.toml").is_file():
            self.cluster.bring(cell, experiment, run)
        train(experiment, run.path)

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
