"""One budget for k devices, k = 1 to 20: one supernet, and k nets trained apart that share it.

run as: python tests/benchmarks fleet (by name only: hundreds of nets; $FLEET, a file of JSON lines,
keeps what was trained, and whoever starts again goes on from there)

Devices have room for perceptrons of 16 to 256 units, spaced by their logarithm: k limits, as of k
chips and latencies; of five and more, three stand for all, from a tenth to nine tenths of them.
Apart, each device has a net of just so many units, with the noise of k trainings; of the supernet
it has the largest net that fits. The rate of each epsilon and k, and how the one net is trained,
are chosen by records that no net has trained on, with a seed of their own, on the middle device;
the test set is asked of what was chosen alone. Fashion-MNIST averaged to 14x14, one client; and
activities of persons who are clients (`../shared/data`), by the spectra of their windows.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from supernet import BASE, ROUNDS

from clients.data.partitions import partition
from clients.data.sets import load
from clients.training.net import Net, build, fill
from clients.training.records import records
from clients.training.smaller.supernet import nets_of
from server.engines.app import test_evaluator
from server.engines.launch import launch
from server.experiment.experiment import Experiment
from server.experiment.loading import load_experiment
from server.extract.extraction import _cut
from server.run.directory import Run, Weights

LEAST, MOST, DEVICES, EPSILONS, SEEDS = 16, 256, (1, 2, 5, 10, 20), (1.0, 3.0), (0, 1)
TRIED = 100  # the seed by which is chosen
WIDTHS = [round(LEAST * (MOST / LEAST) ** (i / 14)) for i in range(14)]
SHARES = ",".join(str(width / MOST) for width in WIDTHS)
SETTINGS = Path(__file__).parent.parent / "acceptance" / "settings"
KEPT = Path(os.environ.get("FLEET") or Path(tempfile.gettempdir()) / "privet-fleet.jsonl")
WAYS = {  # of the one net's training
    "labels": ("supernet.sampled=3", "supernet.distil=false"),
    "labels, 1 drawn": ("supernet.sampled=1", "supernet.distil=false"),
}


class Task(NamedTuple):
    """Records, how they are trained on, and which rates are tried, from the middle on.

    At epsilon 3, where there is less noise, the rates are twice these.
    """

    experiment: str
    settings: tuple[str, ...]
    rounds: int
    rates: tuple[float, ...]


ACTIVITY = ("model.name=perceptron", "model.front=spectrum")
TASKS = {
    "fashion-mnist": Task("tiny", (*BASE, "data.name=fashion-mnist"), ROUNDS, (0.5, 1, 2, 4, 8)),
    "activity": Task(str(SETTINGS / "activity.toml"), ACTIVITY, 40, (0.25, 0.5, 1, 2, 4)),
}


class Scores(NamedTuple):
    """Accuracy of a net on test records, if they were asked, and on those that were held out."""

    test: float | None
    aside: float


def units_of(k: int) -> list[int]:
    """What each of k devices has room for, a single one for the most; of many, three of them."""
    places = range(1, k + 1) if k <= 2 else [share * k + 0.5 for share in (0.1, 0.5, 0.9)]
    return [round(LEAST * (MOST / LEAST) ** (place / k)) for place in places]


def remembered(**asked: Any) -> Any:
    """What the file says of a training, or None."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    key = json.loads(json.dumps(asked))
    return next((one["found"] for one in map(json.loads, lines) if one["asked"] == key), None)


def keep(found: Any, **asked: Any) -> None:
    """Append a training to the file."""
    with KEPT.open("a") as file:
        file.write(json.dumps({"asked": asked, "found": found}) + "\n")


def trained(task: Task, seed: int, rate: float, folder: Path, *settings: str) -> Run:
    """A run of a task."""
    last = [f"federation.rounds={task.rounds}", f"training.learning_rate={rate}", f"seed={seed}"]
    return launch(load_experiment(task.experiment, [*task.settings, *last, *settings]), folder)


@cache
def noise_of(task: Task, epsilon: float, k: int) -> float:
    """The noise multiplier of k trainings that spend epsilon."""
    asked = [*task.settings, f"federation.rounds={task.rounds * k}", f"budget.epsilon={epsilon}"]
    sigma = load_experiment(task.experiment, asked).resolve().budget.noise_multiplier
    assert sigma
    return sigma


def scored(experiment: Experiment, weights: Weights) -> Scores:
    """Of a net's weights; those are held out who are so in the run that trained it."""
    dataset, (train, _) = load(experiment.data), records(experiment.data, experiment.model)
    model = build(experiment.model, dataset.form, experiment.arithmetic, experiment.pruning)
    fill(model, weights)
    parts = partition(experiment.data, experiment.federation.clients, experiment.seed)
    aside = torch.from_numpy(parts.held_out).nonzero().flatten()
    inputs = train.inputs(aside)
    said = Net(model, train.shape).logits(inputs).argmax(1)
    right = (said == train.targets(aside, inputs)).double().mean()
    if experiment.seed == TRIED:
        return Scores(None, float(right))
    return Scores(test_evaluator(experiment)(weights).accuracy, float(right))


def alone(name: str, seed: int, epsilon: float, k: int, units: int, rate: float) -> Scores:
    """A net of so many units with the noise of k trainings; trained once."""
    asked = {"task": name, "epsilon": epsilon, "k": k, "units": units, "rate": rate, "seed": seed}
    if (found := remembered(**asked)) is None:
        sigma = noise_of(TASKS[name], epsilon, k)
        settings = (f"budget.noise_multiplier={sigma}", f"budget.epsilon={epsilon}")
        with tempfile.TemporaryDirectory() as folder:
            hidden = f"model.hidden=[{units}]"
            run = trained(TASKS[name], seed, rate, Path(folder), hidden, *settings)
            found = scored(run.experiment, run.weights(len(run.rounds)))
        keep(found, **asked)
    return Scores(*found)


def together(name: str, seed: int, epsilon: float, way: str, rate: float) -> dict[int, Scores]:
    """By room, the largest net of one supernet that fits; trained once."""
    asked = {"task": name, "epsilon": epsilon, "way": way, "rate": rate, "seed": seed}
    if (found := remembered(**asked)) is None:
        hidden, shares = f"model.hidden=[{MOST}]", f"supernet.widths=[{SHARES}]"
        settings = (hidden, shares, *WAYS[way], f"budget.epsilon={epsilon}")
        with tempfile.TemporaryDirectory() as folder:
            run = trained(TASKS[name], seed, rate, Path(folder), *settings)
            whole, weights = run.experiment, run.weights(len(run.rounds))
            nets = {}
            for net in nets_of(whole.supernet, whole.model):
                smaller = whole.model_copy(update=net._asdict())
                nets[net.model.hidden[0]] = scored(smaller, _cut(whole, smaller, weights))
        rooms = sorted({units for k in DEVICES for units in units_of(k)})
        found = {room: nets[max(units for units in nets if units <= room)] for room in rooms}
        keep(found, **asked)
    return {int(room): Scores(*one) for room, one in found.items()}


def mean(scores: Iterable[Scores]) -> Scores:
    """Of devices."""
    tests, asides = zip(*scores, strict=True)
    return Scores(None if None in tests else statistics.mean(tests), statistics.mean(asides))


def apart_of(name: str, seed: int, epsilon: float, k: int, rate: float) -> Scores:
    """Mean over k devices of nets that share epsilon."""
    units = units_of(k)
    asked = units[len(units) // 2 :][:1] if seed == TRIED else units
    return mean(alone(name, seed, epsilon, k, units, rate) for units in asked)


def together_of(name: str, seed: int, epsilon: float, k: int, way: str, rate: float) -> Scores:
    """Mean over k devices of nets of one."""
    by_room = together(name, seed, epsilon, way, rate)
    return mean(by_room[units] for units in units_of(k))


def climbed(rates: tuple[float, ...], figure: Callable[[float], float]) -> float:
    """The best of rates that are in order, from the middle up as long as it helps, or else down."""
    middle = len(rates) // 2
    for step in (1, -1):
        at = middle
        while 0 <= at + step < len(rates) and figure(rates[at + step]) > figure(rates[at]):
            at += step
        if at != middle:
            break
    return rates[at]


def compared(name: str, epsilon: float, k: int) -> dict[str, Any]:
    """Both means of each seed, of the rates and the way that the held-out records chose."""

    def of_one(way: str, rate: float) -> float:  # for all k, since it is one net
        found = (together_of(name, TRIED, epsilon, each, way, rate) for each in DEVICES)
        return mean(found).aside

    rates = tuple(rate * (2 if epsilon > 1 else 1) for rate in TASKS[name].rates)
    rate = climbed(rates, lambda rate: apart_of(name, TRIED, epsilon, k, rate).aside)
    bests = {way: climbed(rates, partial(of_one, way)) for way in WAYS}
    way = max(WAYS, key=lambda way: of_one(way, bests[way]))
    others = [apart_of(name, seed, epsilon, k, rate).test or 0.0 for seed in SEEDS]
    mine = [together_of(name, seed, epsilon, k, way, bests[way]).test or 0.0 for seed in SEEDS]
    return {
        "one net": mine,
        "apart": others,
        "points": 100 * (statistics.mean(mine) - statistics.mean(others)),
        "rate of the one": [way, bests[way]],
        "rate apart": rate,
    }


def run() -> dict[str, Any]:
    """By data set, epsilon and k: both means of each seed, and their mean difference in points."""
    found: dict[str, Any] = {}
    for epsilon, name, k in product(EPSILONS, TASKS, DEVICES):
        case = f"{name}, epsilon {epsilon:g}, k = {k}"
        found[case] = compared(name, epsilon, k)
        print(case, found[case], file=sys.stderr, flush=True)
    return found
