"""One budget for k devices, k = 1 to 20: one supernet, and k nets trained apart that share it.

run as: python tests/benchmarks fleet (by name only: 38 nets for each data set, epsilon and seed)

Devices have room for perceptrons of 16 to 256 units, spaced by their logarithm: k limits, as of k
chips and latencies. Apart, each device has a net of just so many units, with the noise of k
trainings; of the supernet it has the largest net that fits. Told is the mean test accuracy over
devices, of each seed. Fashion-MNIST averaged to 14x14, one client; and activities of persons who
are clients (`../shared/data`), by the spectra of their windows.
"""

import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from supernet import BASE, ROUNDS

from clients.chip import load_chip
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.extract.candidates import candidates_of
from server.extract.extraction import _Asking
from server.run.directory import Run

LEAST, MOST, DEVICES, EPSILONS, SEEDS = 16, 256, (1, 2, 5, 10, 20), (3.0, 1.0), (0, 1, 2)
WIDTHS = [round(LEAST * (MOST / LEAST) ** (i / 12)) for i in range(12)]
SHARES = ",".join(str(width / MOST) for width in WIDTHS)
SETTINGS = Path(__file__).parent.parent / "acceptance" / "settings"


class Task(NamedTuple):
    """Records, and how they are trained on for so many rounds."""

    experiment: str
    rounds: int
    settings: tuple[str, ...]


TASKS = {
    "fashion-mnist": Task("tiny", ROUNDS, (*BASE, "data.name=fashion-mnist")),
    "activity": Task(
        str(SETTINGS / "activity.toml"), 40, ("model.name=perceptron", "model.front=spectrum")
    ),
}
RATES = {"fashion-mnist": 4, "activity": 2}


def units_of(k: int) -> list[int]:
    """What each of k devices has room for; a single one for the most."""
    return [round(LEAST * (MOST / LEAST) ** ((i + 1) / k)) for i in range(k)]


def trained(name: str, seed: int, folder: Path, *settings: str) -> Run:
    """A run of a task."""
    task = TASKS[name]
    last = [f"federation.rounds={task.rounds}", f"training.learning_rate={RATES[name]}"]
    asked = [*task.settings, *last, f"seed={seed}", *settings]
    return launch(load_experiment(task.experiment, asked), folder)


def apart(name: str, seed: int, epsilon: float, k: int, folder: Path) -> float:
    """Mean over k devices of nets that share epsilon: each has the noise of k trainings."""
    task = TASKS[name]
    all_rounds = [f"federation.rounds={task.rounds * k}", f"budget.epsilon={epsilon}"]
    planned = load_experiment(task.experiment, [*task.settings, *all_rounds]).resolve()
    noise = f"budget.noise_multiplier={planned.budget.noise_multiplier}"
    total = f"budget.epsilon={epsilon}"
    runs = [
        trained(name, seed, folder, f"model.hidden=[{units}]", noise, total)
        for units in units_of(k)
    ]
    return statistics.mean(run.rounds[-1].accuracy or 0.0 for run in runs)


def together(name: str, seed: int, epsilon: float, folder: Path) -> dict[int, float]:
    """Mean over k devices, by k, of the largest nets of one supernet that fit."""
    run = trained(
        name, seed, folder, f"model.hidden=[{MOST}]", f"supernet.widths=[{SHARES}]",
        "supernet.sampled=3", "supernet.distil=false", f"budget.epsilon={epsilon}",
    )  # fmt: skip
    asking, (priced, _) = _Asking(run), candidates_of(run.experiment, load_chip("stm32h743"))
    nets = {c.net.model.hidden[0]: c for c in priced}

    def largest(room: int) -> float:
        return asking(nets[max(units for units in nets if units <= room)])

    return {k: statistics.mean(map(largest, units_of(k))) for k in DEVICES}


def run() -> dict[str, Any]:
    """By data set, epsilon and k: both means of each seed, and their mean difference in points."""
    found: dict[str, Any] = {}
    for name, epsilon in product(TASKS, EPSILONS):
        with tempfile.TemporaryDirectory() as folder:
            one = [together(name, seed, epsilon, Path(folder)) for seed in SEEDS]
            for k in DEVICES:
                others = [apart(name, seed, epsilon, k, Path(folder)) for seed in SEEDS]
                mine = [by_k[k] for by_k in one]
                gain = statistics.mean(mine) - statistics.mean(others)
                found[f"{name}, epsilon {epsilon:g}, k = {k}"] = {
                    "one net": mine,
                    "apart": others,
                    "points": 100 * gain,
                }
    return found
