"""The cells of a grid: a cell is one run, named after the digest of its settings."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from clients.data.sets import load
from clients.training.job import MOST_SEED
from privacy.documents import to_json
from privacy.errors import SettingsError
from server.experiment.experiment import Experiment
from server.experiment.idle import idle_of
from server.sweep.axes import Axis, Point, Settings, grid
from server.sweep.document import Cell
from server.sweep.stages import Order, stages_of
from server.sweep.sweep import Sweep

# What does not change what a run finds: cells that differ in it alone are one.
INCIDENTAL = {"title": True, "federation": {"workers", "timeout_s"}}


def digest_of(experiment: Experiment) -> str:
    """Of all settings that matter to what a run finds."""
    sections = experiment.model_dump(mode="json", exclude=INCIDENTAL)  # type: ignore[arg-type]
    return hashlib.sha256(to_json(sections, sort_keys=True).encode()).hexdigest()[:12]


def default_name(experiment: str, *asked: object) -> str:
    """Of a sweep: the same for the same question, so that the same command goes on."""
    text = to_json([experiment, *asked], sort_keys=True, default=repr)
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
            found_of = [found for found in mine if isinstance(found, Experiment)]
            for key in axis.at(label):
                if found_of and all(idle_of(found, [key]) for found in found_of):
                    raise SettingsError(f"--over {axis.key}={label}: {key} would change nothing")
    experiments: list[Experiment | None] = []
    sweep.document.cells = []
    for i in range(num_seeds):
        for (point, settings), found in zip(points, tried, strict=True):
            if isinstance(found, SettingsError):
                cell = refused(point, settings, i, str(found))
                experiments.append(None)
            else:
                experiment = repeated(found, i)
                cell = cell_of(point, settings, experiment)
                experiments.append(experiment)
            sweep.cells.append(cell)
    for data in {experiment.data for experiment in experiments if experiment}:
        load(data)
    return experiments


def repeated(experiment: Experiment, i: int) -> Experiment:
    """The same with a seed that is `i` further.

    Raises:
        SettingsError: there is no such seed.
    """
    if (seed := experiment.seed + i) > MOST_SEED:
        raise SettingsError(f"seed = {experiment.seed}: {seed} after it is beyond {MOST_SEED}")
    return experiment.model_copy(update={"seed": seed})


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
