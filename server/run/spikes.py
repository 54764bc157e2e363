"""Spikes: what a net of neurons that fire would answer earlier, and whether they fire at all."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from clients.arithmetic.spiking.chain import watch
from clients.arithmetic.spiking.conversion import converted
from clients.data.sets import load
from clients.training.losses import LOSSES
from clients.training.net import build, fill
from clients.training.records import Records, records
from privacy.errors import SettingsError
from server.experiment.experiment import Experiment
from server.run.directory import Weights

BATCH = 500
SEEN = 256  # test records, without their labels, on which a conversion sees what ReLUs give
CONVERTED = (
    "converted, not trained as spiking: each layer is scaled by what its ReLUs give on the first "
    f"{SEEN} test records, whose labels are not read; records of the training are not read again"
)
OFTEN = 0.9  # of all steps of all records: who fires so says nothing
MANY = 0.5  # of a layer's neurons

Found = dict[str, Any]


def spikes_of(experiment: Experiment, weights: Weights) -> Found:
    """Of a model on the whole test set, by time step and by layer; empty if it has no neurons.

    Returns:
        `early`: for each time step t the accuracy (of classes) and the mean loss of what would be
        answered after t steps, and the spikes of a record until then. `layers`: name, neurons, the
        `rate` at which they fire in a step, the shares that are `silent` on all records and that
        fire `always`, in 90 % of all steps. `warnings`: what is wrong, in words.
    """
    if experiment.arithmetic.name != "spiking":
        return {}
    _, test = records(experiment.data, experiment.model)
    if not len(test):
        return {}
    with torch.random.fork_rng(devices=[]):
        form = load(experiment.data).form
        model = build(experiment.model, form, experiment.arithmetic, experiment.pruning)
    fill(model, weights)
    return _told(model, test, experiment.data.task)


def as_spiking(trained: Experiment, asked: Experiment, weights: Weights) -> Weights:
    """Weights of a net of ReLUs, trained in floats, as those of the spiking net that is asked for.

    Raises:
        SettingsError, ModelError: it becomes none.
    """
    if trained.arithmetic.name != "float":
        raise SettingsError(
            f"[arithmetic] name = 'spiking': a net that was trained in {trained.arithmetic.name!r} "
            "becomes no neurons; one of ReLUs in 'float' does"
        )
    _, test = records(trained.data, trained.model)
    form = load(trained.data).form
    with torch.random.fork_rng(devices=[]):
        model, spiking = (
            build(one.model, form, one.arithmetic, one.pruning) for one in (trained, asked)
        )
    fill(model, weights)
    x = test.inputs(torch.arange(min(SEEN, len(test))))
    state = converted(model.eval(), spiking, x, asked.arithmetic)
    return {name: tensor.numpy() for name, tensor in state.items()}


def _told(model: nn.Module, test: Records, task: str) -> Found:
    spikes: dict[str, Tensor] = {}
    right: dict[int, int] = defaultdict(int)
    loss: dict[int, float] = defaultdict(float)
    for batch in torch.arange(len(test)).split(BATCH):
        inputs = test.inputs(batch)
        y, fired = test.targets(batch, inputs), watch(model, inputs)
        for name, counts in fired.spikes.items():
            spikes[name] = counts + spikes.get(name, 0)
        for t, outputs in enumerate(fired.outputs):
            right[t] += int((outputs.argmax(1) == y).sum()) if task == "classes" else 0
            loss[t] += float(LOSSES[task](outputs, y).sum())
    so_far = torch.stack([counts.sum(1) for counts in spikes.values()]).sum(0).cumsum(0)
    early = [
        {
            "time_steps": t + 1,
            "accuracy": right[t] / len(test) if task == "classes" else None,
            "loss": loss[t] / len(test),
            "spikes": int(so_far[t]) / len(test),
        }
        for t in range(len(so_far))
    ]
    layers = [_layer(name, counts, len(test)) for name, counts in spikes.items()]
    return {"early": early, "layers": layers, "warnings": [*warnings_of(layers)]}


def _layer(name: str, counts: Tensor, num_records: int) -> Found:
    """Of spikes summed over records [T, N]."""
    each = counts.sum(0).double() / (num_records * len(counts))
    return {
        "layer": name,
        "neurons": counts.shape[1],
        "rate": float(each.mean()),
        "silent": float((each == 0).double().mean()),
        "always": float((each >= OFTEN).double().mean()),
    }


def warnings_of(layers: list[Found]) -> list[str]:
    """Layers of neurons that are dead, or fire without end."""
    found = []
    for layer in layers:
        if not layer["layer"].startswith("neurons"):
            continue
        if layer["rate"] == 0:
            found.append(
                f"{layer['layer']}: dead: no spike at all, on any test record, so every answer is "
                "the same; lower [arithmetic] threshold, or raise decay or time_steps"
            )
        elif layer["always"] >= MANY:
            found.append(
                f"{layer['layer']}: rates explode: {layer['always']:.0%} of its neurons fire in "
                f"{OFTEN:.0%} of all steps; raise [arithmetic] threshold, or lower learning_rate"
            )
    return found
