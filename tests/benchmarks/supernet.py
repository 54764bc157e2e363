"""One budget for a fleet: nets cut out of one private supernet, and nets that were trained apart.

Perceptrons of 16 to 256 units on pictures averaged to 14x14, one client, 200 steps of record-level
DP; means of the seeds. Apart, k nets share the total epsilon: each has the noise of k trainings.
And the predictor: Kendall's tau on nets that it has not seen, cut out of a net of three layers.
"""

import random
import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from clients.chip import load_chip
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.extract import extract
from server.extract.candidates import Limits, candidates_of
from server.extract.extraction import ASKED, _Asking
from server.extract.features import features_of
from server.predictor import Predictor
from server.run.directory import Run

UNITS = (16, 32, 64, 128, 256)
ROUNDS, SEEDS, RATES = 4, (0, 1), (2, 4)
BASE = [
    "model.pool=2", "federation.clients=1", "training.local_steps=50",
    "training.sample_rate=0.034", "training.momentum=0.9", "budget.clip=0.5",
]  # fmt: skip
WHOLE = [
    "model.hidden=[256]", "supernet.widths=[0.0625,0.125,0.25,0.5]",
    "supernet.sampled=3", "supernet.distil=false",
]  # fmt: skip
DEEP = ["model.hidden=[64,64,64]", "supernet.widths=[0.125,0.25,0.5,0.75]", "supernet.sampled=3"]
UNSEEN = 50


def trained(folder: Path, *settings: str) -> Run:
    """A run of the base with some settings."""
    asked = [*BASE, f"federation.rounds={ROUNDS}", *settings]
    return launch(load_experiment("tiny", asked), folder)


def apart(folder: Path, k: int, epsilon: float, *settings: str) -> dict[int, float]:
    """Accuracy by units, of nets with the noise of k trainings whose total is epsilon."""
    planned = [*BASE, f"federation.rounds={ROUNDS * k}", f"budget.epsilon={epsilon}", *settings]
    sigma = load_experiment("tiny", planned).resolve().budget.noise_multiplier
    noise = [f"budget.noise_multiplier={sigma}", f"budget.epsilon={epsilon}"]
    runs = {u: trained(folder, f"model.hidden=[{u}]", *noise, *settings) for u in UNITS}
    return {units: run.rounds[-1].accuracy or 0.0 for units, run in runs.items()}


def together(folder: Path, epsilon: float, *settings: str) -> dict[int, float]:
    """Accuracy by units, of nets cut out of one."""
    run = trained(folder, *WHOLE, f"budget.epsilon={epsilon}", *settings)
    asking = _Asking(run)
    priced, _ = candidates_of(run.experiment, load_chip("stm32h743"))
    return {c.net.model.hidden[0]: asking(c) for c in priced}


def fleet(data: str, epsilon: float, rate: float, seed: int) -> dict[str, dict[int, float]]:
    """Of one data set, epsilon, learning rate and seed."""
    settings = (f"data.name={data}", f"seed={seed}", f"training.learning_rate={rate}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {"together": together(folder, epsilon, *settings)}
        for k in (1, 5, 20):
            found[f"apart, k = {k}"] = apart(folder, k, epsilon, *settings)
        return found


def predicted() -> dict[str, Any]:
    """Kendall's tau, and seconds of an extraction."""
    from scipy.stats import kendalltau

    with tempfile.TemporaryDirectory() as name:
        run = trained(
            Path(name), *DEEP, "training.learning_rate=2", "data.name=mnist", "budget.epsilon=3"
        )
        priced, total = candidates_of(run.experiment, load_chip("stm32h743"))
        asking, dice = _Asking(run), random.Random(0)
        chosen = dice.sample(priced, ASKED + UNSEEN)
        accuracies = [asking(c) for c in chosen]
        rows = features_of(chosen)
        mean, _ = Predictor(rows[:ASKED], accuracies[:ASKED])(rows[ASKED:])
        chip = load_chip("stm32h743")
        made = extract(run, chip, "stm32h743", Limits(latency_ms=0.15), Path(name))
        return {
            "nets": total,
            "tau": float(kendalltau(mean, accuracies[ASKED:]).statistic),
            "accuracies": [min(accuracies), max(accuracies)],
            "extraction": made.facts,
        }


def run() -> dict[str, Any]:
    """Accuracy by data set, epsilon and rate, of each seed and by units; and the predictor."""
    found: dict[str, Any] = {"predictor": predicted()}
    for data, epsilon, rate in product(("fashion-mnist", "mnist"), (3.0, 1.0), RATES):
        rows = [fleet(data, epsilon, rate, seed) for seed in SEEDS]
        found[f"{data}, epsilon {epsilon:g}, rate {rate}"] = {
            how: {
                "mean over nets, by seed": [statistics.mean(r[how].values()) for r in rows],
                "by units": {u: statistics.mean(r[how][u] for r in rows) for u in UNITS},
            }
            for how in rows[0]
        }
    return found
