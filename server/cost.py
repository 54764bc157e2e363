"""What a run, or a ready model, costs on a chip: inference, a training step, a federated round."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from clients.chip import (
    Chip,
    Cost,
    Network,
    Precision,
    Workload,
    estimate,
    fixed,
    reference,
    stochastic,
)
from clients.chip.federated import RoundCost, estimate_round, estimate_step, fixed_step
from clients.chip.workloads.networks import NETWORKS
from clients.chip.workloads.trace import trace
from clients.data.sets import Partition, load, partition
from clients.models import MODELS, Model
from clients.training.net import build
from privacy.errors import RunError, SettingsError
from privacy.settings import suggest
from server.experiment.experiment import Experiment
from server.run.directory import Run

SHAPE, CLASSES = (28, 28), 10  # of a ready model costed without a run: MNIST's
# [training] per_sample -> Workload.clipping
CLIPPING: dict[str, Literal["onepass", "per-sample"]] = {
    "compiled": "onepass",
    "onepass": "onepass",
    "hooks": "per-sample",
}
STREAM_LENGTH = 256


@dataclass(frozen=True)
class Report:
    """Costs of one subject on one chip.

    Attributes:
        inference: of one record.
        step: of a training step; a round's `step` where there is a round.
        round: with the radio; None for a model without a run.
    """

    subject: str
    chip: str
    arithmetic: Precision
    inference: Cost
    step: Cost
    round: RoundCost | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with totals."""
        found: dict[str, Any] = {
            "subject": self.subject,
            "chip": self.chip,
            "arithmetic": asdict(self.arithmetic),
            "inference": plain(self.inference),
            "step": plain(self.step),
        }
        if self.round:
            parts = asdict(self.round)
            parts["step"] = {k: v for k, v in parts["step"].items() if k != "typical"}
            found["round"] = parts
        return found


def plain(cost: Cost) -> dict[str, Any]:
    """A cost as plain data: totals, then rows."""
    return {
        "network": cost.network,
        "batch": cost.batch,
        "latency_s": cost.latency_s,
        "processing_s": cost.processing_s,
        "energy_j": cost.energy_j,
        "energy_parts_j": cost.energy_parts_j,
        "traffic_bytes": cost.traffic_bytes,
        "macs": cost.macs,
        "performance_efficiency": cost.performance_efficiency,
        "memory_access_efficiency": cost.memory_access_efficiency,
        "memory": asdict(cost.memory),
        "rows": [asdict(row) for row in cost.rows],
    }


def default_arithmetic(chip: Chip) -> Precision:
    """Fixed point of the chip's word, or streams on a chip that has nothing else."""
    return fixed(chip.word_bits) if "fixed" in chip.kinds else stochastic(STREAM_LENGTH)


def arithmetic_of(experiment: Experiment, chip: Chip) -> Precision:
    """The run's own, where the chip has it."""
    f = experiment.arithmetic.formats
    if f.kind == "float" or f.kind not in chip.kinds:
        return default_arithmetic(chip)
    length = f.stream_length if f.kind == "stochastic" else 0
    return Precision(f.kind, f.weight_bits, f.activation_bits, length)


def cost_of_model(name: str, chip: Chip, workload: Workload, batch: int) -> Report:
    """A reference network, or a model of clients.models on images of MNIST's size.

    Raises:
        SettingsError: no such model.
    """
    network = find_network(name)
    arithmetic = default_arithmetic(chip)
    return Report(
        subject=name,
        chip=chip.title,
        arithmetic=arithmetic,
        inference=estimate(network, chip, Workload(), arithmetic, 1),
        step=estimate(network, chip, workload, arithmetic, batch),
    )


def cost_of_run(run: Run, chip: Chip) -> Report:
    """What one round of a run costs the client with the most records.

    Under `unit = "record"` a step's batch is a Poisson sample, and clipping and noise are the
    device's; under the other units it is a shuffled batch of ordinary SGD.
    """
    return _cost(run.experiment, run.manifest, chip, run.path.name)


def cost_of_experiment(experiment: Experiment, chip: Chip) -> Report:
    """What `cost_of_run` will say of a resolved experiment's run, before there is one."""
    split = partition(experiment.data, experiment.federation.clients, experiment.seed)
    return _cost(experiment, split, chip, experiment.title)


def _cost(experiment: Experiment, split: Partition, chip: Chip, subject: str) -> Report:
    network = network_of(experiment)
    arithmetic = arithmetic_of(experiment, chip)
    records, rate = _most_records(split), experiment.training.sample_rate
    workload = workload_of(experiment)
    if workload.step == "dp-sgd":
        step = estimate_step(network, chip, workload, arithmetic, records, rate)
    else:
        batch = min(records, max(1, round(rate * records)))
        step = fixed_step(network, chip, workload, arithmetic, batch)
    return Report(
        subject=subject,
        chip=chip.title,
        arithmetic=arithmetic,
        inference=estimate(network, chip, Workload(), arithmetic, 1),
        step=step.typical,
        round=estimate_round(network, chip, step, experiment.training.local_steps),
    )


def workload_of(experiment: Experiment) -> Workload:
    """The training step that a device of this experiment runs."""
    budget = experiment.budget
    if budget.unit != "record":
        return Workload("sgd")
    clipping = CLIPPING[experiment.training.per_sample]
    return Workload("dp-sgd", clipping, budget.clip, budget.noise_multiplier or 0.0)


def network_of(experiment: Experiment) -> Network:
    """The loop nests of an experiment's model, without the fixed transform before it."""
    dataset = load(experiment.data)
    return _trace(experiment.model, dataset.shape, dataset.num_classes)


def find_network(name: str) -> Network:
    """A network by its name: a reference network, or a model that privet trains.

    Raises:
        SettingsError: there is none.
    """
    if name in NETWORKS:
        return reference(name)
    if name in MODELS:
        return _trace(Model(name=name), SHAPE, CLASSES)
    raise SettingsError(f"{name}: no such model{suggest(name, [*MODELS, *NETWORKS])}")


def _trace(model: Model, shape: tuple[int, ...], num_classes: int) -> Network:
    transform = MODELS[model.name].transform
    if transform is not None:
        features = transform(torch.zeros(1, *shape))
        return trace(build(model, shape, num_classes), tuple(features.shape[1:]), model.name)
    return trace(build(model, shape, num_classes), shape, model.name)


def _most_records(split: Partition) -> int:
    owners = split.owner[~split.held_out]
    owners = owners[owners >= 0]
    if not len(owners):
        raise RunError("manifest: no client has a record to train on")
    return int(np.bincount(owners).max())
