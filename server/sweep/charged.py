"""`privet sweep --charge`: a search that epsilon counts (privacy.dp.accounting.selection).

How many trials, what each of them tries and its seed are drawn before anything is trained, and
kept in sweep.json, so that whoever goes on draws nothing again. Trials are trained in SWEEP/trials,
where nobody may look: the promise is of one run, the best, and of nothing else about the search.
When all are done the best is moved among the runs, with `charge.json`, which says what it cost, and
the others are removed.
"""

import hashlib
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from clients.data.sets import load
from clients.training.job import MOST_SEED
from privacy.cipher import Key
from privacy.documents import to_json
from privacy.dp.accounting.selection import Curve, Trials, curve_of, epsilon_of_curve
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import PrivetError, SettingsError
from server.experiment.experiment import Experiment
from server.experiment.idle import idle_of, value_of
from server.run.directory import Run
from server.run.summary import CHARGE, summarise
from server.sweep.axes import Axis, Point, Settings
from server.sweep.document import FILE, TRIALS, Cell, Charge
from server.sweep.grid import digest_of
from server.sweep.law import parse_trials
from server.sweep.stages import Order
from server.sweep.sweep import Sweep, Watch

PUBLIC = 1 << 53  # a range is dealt out in so many places
# What decides what a trial spends: a range of it has no greatest cost that would be known.
SPENDING = re.compile(
    r"data\..*|federation\..*|secure\..*|budget\.(unit|epsilon|delta|noise_multiplier)"
    r"|training\.(sample_rate|local_steps|noise)"
)
HELD = (
    "holds for whoever sees this run and nothing else of the search: no other trial, nor how many "
    "there were"
)
CHOSEN = "it was chosen by its {by} on the test set, whose records no epsilon covers"


@dataclass(frozen=True)
class Charged:
    """A search that is charged, and what it may try.

    Attributes:
        law: of the number of trials, as it was written.
        experiments: one at every corner: each choice, and both ends of each range.
        curve: Renyi divergence of a trial, the greatest of all that may be drawn.
    """

    law: str
    axes: Sequence[Axis]
    experiments: Sequence[Experiment]
    curve: Curve

    @property
    def trials(self) -> Trials:
        """How the number is drawn."""
        return parse_trials(self.law)

    @property
    def delta(self) -> float:
        """Of every trial, and of the best."""
        return self.experiments[0].budget.delta

    @property
    def question(self) -> str:
        """SHA-256 of all that a draw depends on."""
        asked = [self.law, [repr(axis) for axis in self.axes], *map(digest_of, self.experiments)]
        return hashlib.sha256(to_json(asked).encode()).hexdigest()

    def epsilon(self, more: Sequence[Curve] = ()) -> float:
        """Of the best trial, search included; `more` is what trials spent beyond their plan."""
        greatest = np.maximum.reduce([self.curve, *more])
        return epsilon_of_curve(self.trials.charge(greatest), self.delta)


def charged(sweep: Sweep, law: str, axes: Sequence[Axis]) -> Charged:
    """What a charged search may try, and what a trial of it spends at most.

    Raises:
        SettingsError: a point that cannot be tried or promises nothing, or whose cost is not known;
            no test set to choose by.
        DataError: data that are not here.
    """
    parse_trials(law)
    for axis in axes:
        if axis.key == "seed":
            raise SettingsError("--over seed: with --charge each trial has a seed of its own")
        if axis.range and SPENDING.fullmatch(axis.key):
            raise SettingsError(
                f"--over {axis.key}={axis.range.label}: decides what a trial spends, so that none "
                "is known to spend most; give its values, as 1,2,3"
            )
    corners = [(axis, label) for axis in axes for label in _ends(axis)]
    experiments: list[Experiment] = []
    by_label: dict[tuple[str, str], list[Experiment]] = {}
    for labels in product(*(_ends(axis) for axis in axes)):
        settings: Settings = {}
        for axis, label in zip(axes, labels, strict=True):
            settings |= axis.at(label)
        found = sweep.experiment_of(settings)
        require_chargeable(found)
        experiments.append(found)
        for axis, label in zip(axes, labels, strict=True):
            by_label.setdefault((axis.key, repr(label)), []).append(found)
    for axis, label in corners:
        for key in axis.at(label):
            if all(idle_of(found, [key]) for found in by_label[axis.key, repr(label)]):
                raise SettingsError(f"--over {axis.key}={label}: {key} would change nothing")
    for key in ("budget.unit", "budget.delta", "training.noise"):
        if len({value_of(found, key) for found in experiments}) > 1:
            raise SettingsError(f"--over {key}: with --charge it must be the same in all trials")
    for data in {found.data for found in experiments}:
        if not len(load(data).test_y):
            raise SettingsError(
                "--charge: there is no test set to choose by; give [data] test_share or test_path"
            )
    curves = [curve_of([planned_of(found)]) for found in experiments]
    return Charged(law, axes, experiments, np.maximum.reduce(curves))


def _ends(axis: Axis) -> list[object]:
    return [axis.range.low, axis.range.high] if axis.range else axis.labels


def require_chargeable(experiment: Experiment) -> None:
    """Refuse what no theorem counts.

    Raises:
        SettingsError: with the remedy.
    """
    if experiment.budget.unit == "none":
        raise SettingsError("--charge: [budget] unit = 'none' promises nothing to charge")
    if experiment.federation.engine == "superlink":
        raise SettingsError(
            "--charge: devices of their own show their server every trial, and their ledgers add "
            "all of them up; search with -s federation.engine=cohort"
        )
    if experiment.budget.unit == "client" and experiment.training.noise != "secure":
        raise SettingsError(
            "--charge: each trial has a seed of its own, which deals the records out anew, so that "
            "no client is the same in two; add -s training.noise=secure"
        )


def planned_of(experiment: Experiment) -> Spent:
    """What a unit of privacy spends in a trial, if it takes part whenever it may."""
    resolved = experiment.resolve()
    assert resolved.budget.noise_multiplier is not None
    steps = experiment.federation.rounds_per_client * experiment.steps_per_round
    return Spent(resolved.budget.noise_multiplier, experiment.sample_rate, steps)


def draw(sweep: Sweep, search: Charged) -> None:
    """Take up what was drawn for the same question before; else draw it, and write it down.

    Raises:
        SettingsError: the sweep of that name is another; a drawn point cannot be tried.
    """
    if (sweep.path / FILE).is_file():
        before = Sweep.open(sweep.path).document
        if before.charge is None or before.charge.question != search.question:
            raise SettingsError(
                f"{sweep.path}: is another search, and none is drawn twice; give another --name"
            )
        sweep.document = before
        return
    first = search.experiments[0]
    secure = first.training.noise == "secure"
    key = Key.secret() if secure else Key.of("charged search", first.seed, search.question)
    cells = []
    for i in range(search.trials.count(key.derive("trials"))):
        own = key.derive("trial", i)
        point: Point = {axis.key: _drawn(axis, own.derive(axis.key)) for axis in search.axes}
        settings: Settings = {}
        for axis in search.axes:
            settings |= axis.at(point[axis.key])
        # One seed for all leaves everyone's records where they are; seeded noise needs its own.
        seed = first.seed if secure else own.derive("seed").seed() & MOST_SEED
        digest = own.derive("name").value.hex()[:12]  # which does not tell how many there were
        sweep.experiment_of(settings, seed)
        cells.append(Cell(settings=settings, point=point, seed=seed, digest=digest))
    sweep.document.cells = cells
    sweep.document.charge = Charge(
        law=search.law,
        question=search.question,
        delta=search.delta,
        epsilon=search.epsilon(),
        epsilon_of_a_trial=max(
            found.epsilon_of(Ledger([planned_of(found)])) for found in search.experiments
        ),
    )
    sweep.save()


def _drawn(axis: Axis, key: Key) -> object:
    """A label of an axis, each as likely as any."""
    word = int.from_bytes(key.value[:16], "big")
    if not axis.range:
        return axis.labels[word % len(axis.labels)]
    low, high = axis.range.low, axis.range.high
    if isinstance(low, int) and isinstance(high, int) and not axis.range.log:
        return low + word % (high - low + 1)
    place = (word % PUBLIC) / PUBLIC
    found = low * (high / low) ** place if axis.range.log else low + (high - low) * place
    return round(found) if isinstance(low, int) and isinstance(high, int) else found


def run_charged(sweep: Sweep, search: Charged, watch: Watch) -> None:
    """Train what is left of the trials, and tell the best.

    Raises:
        Interrupted: by the user; the same command goes on.
    """
    charge = sweep.document.charge
    assert charge is not None
    if not charge.ended:
        for cell in sweep.cells:
            if cell.status != "done":
                experiment = sweep.experiment_of(cell.settings, cell.seed)
                sweep.complete(cell, experiment, Order(), watch)
        _choose(sweep, search, charge)
    settle(sweep)


def _choose(sweep: Sweep, search: Charged, charge: Charge) -> None:
    """Write what the best cost into it, and the end of the search into sweep.json.

    A trial that failed is worse than any; of equals the first is best.
    """
    done = [cell for cell in sweep.cells if cell.status == "done"]
    judged = [(*_merit(sweep.run_of(cell)), cell) for cell in done]
    if sweep.cells and not judged:
        return  # what failed is told, and tried again by the same command
    chosen: list[Cell] = []
    if judged:
        _, by, best = max(judged, key=lambda found: found[0])
        spent = [curve_of(x.entries) for cell in done for x in sweep.run_of(cell).ledgers.values()]
        charge.epsilon = max(charge.epsilon, search.epsilon(spent))
        charge.said = (
            f"epsilon {charge.epsilon:.3f} at delta {charge.delta:g} counts the search: trials "
            f"{search.law} of epsilon {charge.epsilon_of_a_trial:.3f} each, by Renyi orders "
            f"(Papernot and Steinke 2022); {CHOSEN.format(by=by)}; it {HELD}"
        )
        told = {"epsilon": charge.epsilon, "delta": charge.delta, "said": charge.said}
        sweep.run_of(best).keep(CHARGE, told)
        chosen = [best]
    charge.ended, home = True, sweep.path / TRIALS
    sweep.document.cells = chosen
    home.mkdir(exist_ok=True)
    sweep.save()


def _merit(run: Run) -> tuple[float, str]:
    """How good a run's last model is on the test set, and by what."""
    last = run.rounds[-1]
    found = summarise(run).accuracy
    by = "loss" if found is None else "accuracy"
    value = found if last.loss is None or found is not None else -last.loss
    return (-math.inf if value is None or math.isnan(value) else value), by


def settle(sweep: Sweep) -> None:
    """Move the chosen run among the runs, and remove the others: again, if that was cut short."""
    charge, closed = sweep.document.charge, sweep.path / TRIALS
    if charge is None or not charge.ended:
        return
    for cell in sweep.cells:
        path = sweep.run_of(cell).path
        if (closed / path.name).is_dir():
            if path.exists():
                raise PrivetError(f"{path}: is in the way of the run that was chosen; move it")
            (closed / path.name).rename(path)
    shutil.rmtree(closed, ignore_errors=True)


Say = Callable[[str], None]


def tell(sweep: Sweep, say: Say) -> None:
    """What came of a charged search, in a few lines."""
    charge = sweep.document.charge
    assert charge is not None
    if not charge.ended:
        say("no trial succeeded: nothing is chosen; the same command tries again")
    elif not sweep.cells:
        say(
            "no trial was drawn, as happens under poisson: nothing is chosen, and a second draw "
            "would cost its own epsilon"
        )
    else:
        run = sweep.run_of(sweep.cells[0])
        say(f"chosen: {run.path}: {charge.said}")
