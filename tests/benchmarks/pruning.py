"""What each kind of pruning saves in weights and products, on chips, and costs in accuracy.

MNIST averaged to 14x14, a perceptron of 128 units, 2 clients, record-level DP; means of seeds 0, 1
and 2. And what a chip that skips zero activations makes of them: of the products that are saved in
theory, the share that is saved in time.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from clients.chip import Workload, estimate, fixed, load_chip, reference
from server.cost import cost_of_run
from server.cost.subjects import subject_of
from server.cost.zeros import left_of_run
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run

BASE = [
    "data.name=mnist", "model.hidden=[128]", "model.pool=2", "federation.clients=2",
    "federation.rounds=10", "training.local_steps=20", "training.sample_rate=0.07",
    "training.learning_rate=2", "training.momentum=0.9", "budget.clip=0.5",
]  # fmt: skip
KINDS: dict[str, list[str]] = {
    "none": [],
    "weight 0.5": ["weight=0.5"],
    "weight 0.9": ["weight=0.9"],
    "weight 0.9, gradual": ["weight=0.9", "gradual=true"],
    "2:4": ["structured=2:4"],
    "filters 0.5": ["structured=filters", "weight=0.5"],
    "filters 0.75": ["structured=filters", "weight=0.75"],
    "channels 0.5": ["structured=channels", "weight=0.5"],
    "activation top:0.25": ["activation=top:0.25"],
}
SEEDS = (0, 1, 2)
CHIPS = ("stm32h743", "cambricon-x", "zasca", "cnvlutin", "eyeriss")
ZEROS = (0.1, 0.3, 0.5, 0.7, 0.9)


def trained(kind: str, epsilon: float, seed: int, folder: Path) -> Run:
    """A run of one kind."""
    settings = [f"pruning.{setting}" for setting in KINDS[kind]]
    asked = [*BASE, f"budget.epsilon={epsilon}", f"seed={seed}", *settings]
    return launch(load_experiment("tiny", asked), folder)


def told(run: Run) -> dict[str, float]:
    """Accuracy, what is left of weights and products, and an inference on each chip."""
    whole = subject_of(run.experiment).network
    left = left_of_run(run, whole)
    zeros = {z.layer: z for z in left.zeros}
    nests = [layer for layer in left.network.layers if layer.nest]
    found = {
        "accuracy": run.rounds[-1].accuracy or 0.0,
        "weights left": sum(n.stored * (1 - zeros[n.name].weights) for n in nests) / whole.stored,
        "products left": sum(
            n.macs * (1 - zeros[n.name].weights) * (1 - zeros[n.name].activations) for n in nests
        )
        / whole.macs,
        "upload bytes": sum(c.upload_bytes for c in run.rounds[-1].clients),
    }
    for chip in CHIPS:
        cost = cost_of_run(run, load_chip(chip)).inference
        found |= {f"{chip} s": cost.latency_s, f"{chip} J": cost.energy_j}
    return found


def kinds(epsilon: float, names: list[str]) -> dict[str, Any]:
    """Each kind's figures: mean, least and greatest of accuracy; means of the others."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in names:
            rows = [told(trained(kind, epsilon, seed, Path(folder))) for seed in SEEDS]
            found[kind] = {key: statistics.mean(row[key] for row in rows) for key in rows[0]}
            seen = [row["accuracy"] for row in rows]
            found[kind]["accuracy"] = [statistics.mean(seen), min(seen), max(seen)]
    return found


def speed_up() -> dict[str, Any]:
    """On ZASCA, by the fraction of zero activations: in theory, 1 / (1 - zeros), and modelled."""
    chip, found = load_chip("zasca"), {}
    for name in ("alexnet", "vgg16"):
        dense = estimate(name, chip, Workload(), fixed(16), 1)
        assert reference(name).macs
        found[name] = {
            zeros: {
                "theory": 1 / (1 - zeros),
                "array": dense.processing_s / sparse.processing_s,
                "with DRAM": dense.latency_s / sparse.latency_s,
            }
            for zeros in ZEROS
            for sparse in [estimate(name, chip, Workload(activation_zeros=zeros), fixed(16), 1)]
        }
    return found


def run() -> dict[str, Any]:
    """All of it."""
    few = ["none", "weight 0.5", "weight 0.9", "weight 0.9, gradual"]
    return {
        "epsilon 3": kinds(3.0, list(KINDS)),
        "epsilon 1": kinds(1.0, few),
        "speed-up on zasca": speed_up(),
    }
