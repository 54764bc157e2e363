"""A search over 2.56 million nets: what 60 questions find by each way to search.

The nets are those of one private supernet (perceptrons of three hidden layers, 16 widths of each),
each of their four layers pruned by its own share out of five; MNIST averaged to 14x14, epsilon 3.
Nothing is trained for one: its weights are cut out, the least put to zero, and it is asked on the
test set; its latency is that of the chip model. Found is a front, whose hypervolume is over chance
in accuracy and below the whole net's latency, as a share of all that is above one and below the
other. Latency is taken by its logarithm down to that of the least net, since devices differ by
factors; and as it is, where the nets of little latency, of which a few are soon found, are all that
counts.
"""

import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t
from supernet import trained

from clients.chip import Chip, Workload, estimate, load_chip
from clients.chip.workloads.workload import Zeros
from clients.data.sets import load
from clients.training.net import build, fill
from clients.training.pruning import Pruning, is_pruned
from clients.training.records import records
from clients.training.smaller.cutting import cut
from server.cost.subjects import arithmetic_of, subject_of
from server.run.directory import Run
from server.sweep.axes import Point, parse_axis
from server.sweep.document import Cell
from server.sweep.search import BY, Search

MOST, QUESTIONS, SEEDS, CHIP = 64, 60, range(10), "cambricon-x"
WIDTHS = [MOST * i // 16 for i in range(1, 17)]
AXES = [parse_axis(f"width_{n}={','.join(map(str, WIDTHS))}") for n in "abc"]
AXES += [parse_axis(f"pruned_{n}=0.0,0.3,0.5,0.7,0.9") for n in "abcd"]
SHARES = ",".join(str(width / MOST) for width in WIDTHS[:-1])
CHANCE = 0.1


class Asked:
    """Candidates out of one run, each once."""

    def __init__(self, run: Run, chip: Chip) -> None:
        self._experiment, self._chip = run.experiment, chip
        self._weights = run.weights(len(run.rounds))
        form = load(run.experiment.data).form
        self._build = lambda model: build(model, form, run.experiment.arithmetic)
        self._whole = self._build(run.experiment.model)
        _, test = records(run.experiment.data, run.experiment.model)
        self._x, self._y = test.inputs(torch.arange(len(test))), test.y
        network = subject_of(self._experiment).network
        self._dense_s = self._latency_s(network, Workload())

    def _latency_s(self, network: Any, workload: Workload) -> float:
        arithmetic = arithmetic_of(self._experiment, self._chip)
        return estimate(network, self._chip, workload, arithmetic, 1).latency_s

    def __call__(self, point: Point) -> dict[str, float]:
        """Accuracy, and the latency as a share of the whole net's."""
        hidden = tuple(point[f"width_{n}"] for n in "abc")
        model = self._experiment.model.model_copy(update={"hidden": hidden})
        net = self._build(model)
        weights = cut(self._weights, self._whole, net)
        shares = iter([point[f"pruned_{n}"] for n in "abcd"])
        for name, array in weights.items():
            if is_pruned(array) and (share := next(shares)):
                weights |= Pruning(weight=share).prune({name: array}, 1, 1)
        fill(net, weights)
        with torch.no_grad():
            right = (net(self._x).argmax(1) == self._y).float().mean().item()
        network = subject_of(self._experiment.model_copy(update={"model": model})).network
        layers = [array for array in weights.values() if is_pruned(array)]
        nests = [layer for layer in network.layers if layer.nest]
        zeros = tuple(
            Zeros(nest.name, min(float((array == 0).mean()), 0.999), 0.0)
            for nest, array in zip(nests, layers, strict=True)
        )
        latency = self._latency_s(network, Workload(zeros=zeros)) / self._dense_s
        return {"accuracy": right, "latency": latency}


def hypervolume(found: list[dict[str, float]], least: float = 0.0) -> float:
    """Of what is better than chance and faster than the whole net, the share that is reached.

    Args:
        least: latency of the least net; with it, latencies are taken by their logarithm.
    """
    area, top = 0.0, CHANCE
    for one in sorted(found, key=lambda f: f["latency"]):
        if one["accuracy"] > top and one["latency"] < 1:
            saved = math.log(one["latency"]) / math.log(least) if least else 1 - one["latency"]
            area += (one["accuracy"] - top) * saved
            top = one["accuracy"]
    return area / (1 - CHANCE)


def least_of(ask: Asked) -> float:
    """Latency of the least net, as a share of the whole one's."""
    return ask({axis.key: (min if "width" in axis.key else max)(axis.labels) for axis in AXES})[
        "latency"
    ]


def searched(ask: Asked, by: str, seed: int) -> list[dict[str, float]]:
    """The front of one search."""
    search = Search(AXES, ["accuracy", "latency"], [], QUESTIONS, CHIP, seed=seed, by=by)
    tried: list[list[Cell]] = []
    while len(tried) < QUESTIONS:
        point = search.propose(tried)
        assert point
        cell = Cell(settings={}, point=point, seed=0, digest="", status="done", figures=ask(point))
        tried.append([cell])
    return [cells[0].figures for cells in search.front(tried)]


def ratios(fronts: dict[str, list[list[dict[str, float]]]], least: float) -> dict[str, Any]:
    """Of each way, its hypervolumes by seed and their mean over random's.

    With the ends of the 95 % interval of that ratio of means, by the delta method.
    """
    areas = {by: [hypervolume(f, least) for f in found] for by, found in fronts.items()}
    told: dict[str, Any] = {"hypervolume": areas}
    base = areas["random"]
    for by, found in areas.items():
        ratio = statistics.mean(found) / statistics.mean(base)
        spread = math.hypot(*(statistics.stdev(v) / statistics.mean(v) for v in (found, base)))
        half = t.ppf(0.975, len(found) - 1) * ratio * spread / len(found) ** 0.5
        told[f"{by} over random"] = [ratio - half, ratio, ratio + half]
    return told


def run() -> dict[str, Any]:
    """Fronts by each way and seed, and their hypervolumes."""
    with tempfile.TemporaryDirectory() as folder:
        whole = trained(
            Path(folder), f"model.hidden=[{MOST},{MOST},{MOST}]", f"supernet.widths=[{SHARES}]",
            "supernet.sampled=3", "training.learning_rate=2", "data.name=mnist",
            "budget.epsilon=3",
        )  # fmt: skip
        ask = Asked(whole, load_chip(CHIP))
        fronts = {by: [searched(ask, by, seed) for seed in SEEDS] for by in BY}
        least = least_of(ask)
    return {
        "by the logarithm of latency": ratios(fronts, least),
        "by latency": ratios(fronts, 0.0),
        "fronts": fronts,
    }
