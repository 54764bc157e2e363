"""What kernels, bits and progressive shrinking cost the nets of a supernet beside widths alone.

run as: python tests/benchmarks elastic

A cnn1d of width 16 on scikit-learn's digits, one client, 200 steps at epsilon 8. Told is the mean
test accuracy, by seed, of the three widths as floats with whole kernels, which all have, and of
the nets that a choice adds.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from clients.training.smaller.supernet import FLOAT, nets_of
from server.engines.app import test_evaluator
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.extract.extraction import _cut

SEEDS = (0, 1)
BASE = [
    "model.name=cnn1d", "model.width=16", "model.depth=1", "federation.clients=1",
    "federation.rounds=20", "training.local_steps=10", "budget.clip=0.5",
    "training.learning_rate=4", "supernet.widths=[0.25,0.5]", "supernet.sampled=2",
    "supernet.distil=false",
]  # fmt: skip
CHOICES = {
    "widths": [],
    "widths, progressive": ["supernet.progressive=5"],
    "widths, kernels": ["supernet.trims=[1]"],
    "widths, kernels, progressive": ["supernet.trims=[1]", "supernet.progressive=5"],
    "widths, bits": ["supernet.bits=[8,4]"],
    "widths, bits, progressive": ["supernet.bits=[8,4]", "supernet.progressive=5"],
}


def accuracies(seed: int, settings: list[str]) -> tuple[float, float | None]:
    """Mean over the nets of widths alone, and over the others if there are any."""
    with tempfile.TemporaryDirectory() as folder:
        run = launch(load_experiment("tiny", [*BASE, f"seed={seed}", *settings]), Path(folder))
        whole, weights = run.experiment, run.weights(len(run.rounds))
    kept, added = [], []
    for net in nets_of(whole.supernet, whole.model):
        smaller = whole.model_copy(update=net._asdict())
        right = test_evaluator(smaller)(_cut(whole, smaller, weights)).accuracy or 0.0
        common = net.arithmetic == FLOAT and not net.model.trim
        (kept if common else added).append(right)
    return statistics.mean(kept), statistics.mean(added) if added else None


def run() -> dict[str, Any]:
    """By choice: both means, of each seed."""
    found = {}
    for name, settings in CHOICES.items():
        kept, added = zip(*(accuracies(seed, settings) for seed in SEEDS), strict=True)
        found[name] = {"widths alone": kept, "added": added}
    return found
