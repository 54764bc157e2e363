"""`privet sweep --search`: in place of the whole grid, what a sampler thinks is worth a run.

Optuna's estimators or a predictor propose, or the best so far are crossed and changed, or points
are drawn at random (`server.sweep.proposals`). Candidates that break a limit of the chip model are
not trained, and it is told by how much. Each proposal is a function of the seed and of what
sweep.json says was tried, so a search that was stopped goes on to what it would have found.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from clients.chip import load_chip
from clients.seeds import derive
from privacy.documents import to_json
from privacy.errors import Interrupted, PrivetError, SettingsError
from server.cost import Report, cost_of_experiment
from server.experiment.experiment import Experiment
from server.run.directory import Run
from server.sweep.axes import Axis, Point, Settings, grid
from server.sweep.document import FILE, Cell, Searched
from server.sweep.grid import cell_of, refused, repeated
from server.sweep.objectives import FIGURES, OBJECTIVES, Direction, Limit
from server.sweep.proposals.evolution import any_of, child_of, first_front, parents_of
from server.sweep.proposals.told import Told
from server.sweep.stages import Order
from server.sweep.sweep import Sweep, Watch

LEAST = 1e-12  # of a chip's figure whose logarithm is taken
ASKS = 30  # for a point that was not tried before, until a search gives up
BY = ("tpe", "predictor", "evolution", "random")
PATIENCE = 20  # candidates for each that may be trained: so many may break limits


@dataclass(frozen=True)
class Search:
    """What is looked for, and where.

    Attributes:
        objectives: keys of `OBJECTIVES`.
        budget: candidates that are trained.
        chip: of the objectives that are figures of a chip.
        num_seeds: runs of each candidate; it is judged by their mean.
        by: one of `BY`.
    """

    axes: Sequence[Axis]
    objectives: Sequence[str]
    limits: Sequence[Limit]
    budget: int
    chip: str = ""
    num_seeds: int = 1
    seed: int = 0
    by: str = "tpe"

    @property
    def directions(self) -> dict[str, Direction]:
        """Of each objective."""
        return {name: OBJECTIVES[name].direction for name in self.objectives}

    # ---- proposing

    def propose(self, tried: Sequence[list[Cell]]) -> Point | None:
        """The next point to try; None if there is none left.

        Args:
            tried: the cells of each candidate.
        """
        known = {_key(cells[0].point) for cells in tried}
        for point in self._proposals(tried):
            if _key(point) not in known:
                return point
        if any(axis.range for axis in self.axes):
            return None
        return next((point for point, _ in grid(self.axes) if _key(point) not in known), None)

    def _seed(self, tried: Sequence[list[Cell]], ask: int) -> int:
        return derive(self.seed, "search", len(tried), ask) % (1 << 32)

    @property
    def _startup(self) -> int:
        """Candidates that are drawn at random."""
        return max(4, self.budget // 4)

    def _proposals(self, tried: Sequence[list[Cell]]) -> Iterator[Point]:
        """What the way of this search proposes; and behind it, points from anywhere."""
        told = [one for cells in tried if (one := self._told(cells))]
        seeds = [self._seed(tried, ask) for ask in range(ASKS)]
        trained = sum(one.scores is not None for one in told)
        if self.by == "tpe":
            from server.sweep.proposals.parzen import estimated

            yield from estimated(self.axes, told, len(self.objectives), self._startup, seeds)
        elif self.by == "predictor" and trained >= self._startup:
            from server.sweep.proposals.screening import screened

            yield from screened(self.axes, told, random.Random(seeds[0]))
        elif self.by == "evolution" and trained >= self._startup:
            known = [(one.point, tuple(one.scores)) for one in told if one.scores is not None]
            parents = parents_of(*zip(*known, strict=True))
            yield from (child_of(self.axes, parents, random.Random(seed)) for seed in seeds)
        yield from (any_of(self.axes, random.Random(seed)) for seed in seeds)

    def _told(self, cells: list[Cell]) -> Told | None:
        """What is told of a candidate; nothing of one that failed."""
        first = cells[0]
        pruned = first.status == "pruned"
        if not pruned and not self.is_judged(cells):
            return None
        over = {str(x): math.log(max(first.figures[str(x)], LEAST) / x.bound) for x in self.limits}
        return Told(first.point, None if pruned else self.scores([cells])[0], over)

    # ---- judging

    def is_judged(self, cells: list[Cell]) -> bool:
        """Did all runs of a candidate come to their figures?"""
        return all(c.status == "done" and set(self.objectives) <= set(c.figures) for c in cells)

    def values(self, cells: list[Cell]) -> list[float]:
        """A candidate's objectives: means over its seeds."""
        return [fmean(cell.figures[name] for cell in cells) for name in self.objectives]

    def scores(self, judged: Sequence[list[Cell]]) -> list[tuple[float, ...]]:
        """Objectives of candidates, all of them the better the greater.

        Of a chip's figures the logarithms: twice as fast is as much, however fast it was.
        """
        return [tuple(map(self._score, self.objectives, self.values(cells))) for cells in judged]

    @staticmethod
    def _score(name: str, value: float) -> float:
        if OBJECTIVES[name].figure:
            value = math.log(max(value, LEAST))
        return value if OBJECTIVES[name].direction == "maximize" else -value

    def front(self, tried: Sequence[list[Cell]]) -> list[list[Cell]]:
        """The candidates that no other is better than in one objective and as good in all."""
        judged = [cells for cells in tried if self.is_judged(cells)]
        return [judged[i] for i in first_front(self.scores(judged))]

    def estimate(self, cell: Cell, experiment: Experiment) -> None:
        """Write the chip's figures into a cell; prune it, if they break a limit."""
        experiment = experiment.resolve()
        reports: dict[str, Report] = {}
        for chip in {self.chip, *(limit.chip for limit in self.limits)} - {""}:
            reports[chip] = cost_of_experiment(experiment, load_chip(chip))
        for name in self.objectives:
            if figure := OBJECTIVES[name].figure:
                cell.figures[name] = float(FIGURES[figure](reports[self.chip]))
        broken = []
        for limit in self.limits:
            value = cell.figures[str(limit)] = float(FIGURES[limit.figure](reports[limit.chip]))
            if value > limit.bound:
                broken.append(
                    f"{limit.figure} = {value:.4g} on {limit.chip} is over {limit.bound:g}"
                )
        if broken:
            cell.status, cell.error = "pruned", "; ".join(broken)

    def judge(self, cell: Cell, run: Run) -> None:
        """Write what a run reached into its cell."""
        for name in self.objectives:
            if read := OBJECTIVES[name].read:
                cell.figures[name] = read(run)


def recall(sweep: Sweep, search: Search) -> None:
    """Take up what was tried for the same question before."""
    if not (sweep.path / FILE).is_file():
        return
    asked, before = sweep.document, Sweep.open(sweep.path).document
    if (
        before.search
        and (before.experiment, before.fixed, before.axes)
        == (asked.experiment, asked.fixed, asked.axes)
        and before.search.model_copy(update={"front": []}) == _searched(search)
    ):
        asked.cells = before.cells


def _searched(search: Search) -> Searched:
    return Searched(
        objectives=dict(search.directions),
        limits=[str(limit) for limit in search.limits],
        seeds=search.num_seeds,
        by=search.by,
    )


def run_search(sweep: Sweep, search: Search, order: Order, watch: Watch) -> None:
    """Search until the budget of trained candidates is spent, or nothing is left to try.

    Raises:
        Interrupted: by the user; the same command goes on.
    """
    for cell in sweep.cells:
        if cell.status not in ("done", "pruned"):
            _try(sweep, search, cell, order, watch)
    while True:
        tried = list(candidates(sweep, search.num_seeds))
        trained = sum(cells[0].status != "pruned" for cells in tried)
        if trained >= search.budget or len(tried) >= PATIENCE * search.budget:
            return
        point = search.propose(tried)
        if point is None:
            return
        settings: Settings = {}
        for axis in search.axes:
            settings |= axis.at(point[axis.key])
        fresh = []
        for i in range(search.num_seeds):
            try:
                experiment = repeated(sweep.experiment_of(settings), i)
                fresh.append(cell_of(point, settings, experiment))
            except SettingsError as error:
                fresh.append(refused(point, settings, i, str(error)))
        sweep.cells.extend(fresh)
        for cell in fresh:
            _try(sweep, search, cell, order, watch)


def _try(sweep: Sweep, search: Search, cell: Cell, order: Order, watch: Watch) -> None:
    told = False  # complete() tells the watch itself
    try:
        experiment = sweep.experiment_of(cell.settings, cell.seed)
        search.estimate(cell, experiment)
        if cell.status != "pruned":
            told = True
            sweep.complete(cell, experiment, order, watch)
        if cell.status == "done":
            search.judge(cell, sweep.run_of(cell))
    except Interrupted:
        raise
    except PrivetError as error:
        cell.status, cell.error = "failed", " ".join(str(error).split())
    if not told:
        watch.end(cell)
    front = search.front(list(candidates(sweep, search.num_seeds)))
    digests = [cell.digest for cells in front for cell in cells]
    sweep.document.search = _searched(search).model_copy(update={"front": digests})
    sweep.save()


def candidates(sweep: Sweep, num_seeds: int) -> Iterator[list[Cell]]:
    """The cells of each candidate."""
    cells = sweep.cells
    for first in range(0, len(cells), num_seeds):
        yield cells[first : first + num_seeds]


def _key(point: Point) -> str:
    return to_json(point, sort_keys=True)
