"""Latency, energy and memory of a run or a model on a chip, as data."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from clients.chip import Chip, Cost, Precision, Workload, estimate, in_turn
from clients.chip.federated import RoundCost, estimate_round, estimate_step, fixed_step
from clients.data.partitions import Partition, partition
from clients.training.smaller.supernet import Supernet
from privacy.errors import RunError
from server.cost.saved import Saved, saved
from server.cost.subjects import (
    Subject,
    arithmetic_of,
    default_arithmetic,
    find_subject,
    notes_on,
    subject_of,
    transform_arithmetic,
)
from server.cost.zeros import Left, left_of_plan, left_of_run, notes_on_zeros
from server.experiment.experiment import Experiment
from server.experiment.lessons import Learnt
from server.run.directory import Run
from server.run.origin import trained_as

# [training] per_sample -> Workload.clipping
CLIPPING: dict[str, Literal["onepass", "per-sample"]] = {
    "compiled": "onepass",
    "onepass": "onepass",
    "hooks": "per-sample",
}

CUT_OUT = "cut out of another run's net: its step and its round are those of training it alone"
IN_THE_CLEAR = "learnt on ciphertexts: its step and its round are those of training it in the clear"


@dataclass(frozen=True)
class Preparation:
    """A fixed transform of a device's training records: once, before its first round.

    Attributes:
        block: the cost of as many records as are worked on together.
        kept_bytes: of all that is kept until the last round, on whatever holds the records.
    """

    records: int
    latency_s: float
    energy_j: float
    kept_bytes: int
    block: Cost


MOST_ERROR = 0.15  # beyond which what was counted takes the model's place


@dataclass(frozen=True)
class Held:
    """A part of a step, modelled and counted.

    Attributes:
        layer: all of them of noise and update, and of what is of none.
        modelled_s, counted_s: of one record; of noise and rest, of a step. counted_s: least, most.
        error: how far the model is beyond the nearer end; None where it has no such part.
    """

    layer: str
    part: str
    modelled_s: float
    counted_s: tuple[float, float]
    error: float | None

    @property
    def mended(self) -> float:
        """By what the model's figure is to be multiplied."""
        far = self.error is not None and abs(self.error) > MOST_ERROR
        return sum(self.counted_s) / 2 / self.modelled_s if far else 1.0


@dataclass(frozen=True)
class Report:
    """Costs of one subject on one chip.

    Attributes:
        arithmetic: in which the network is priced. `transform`: in which its fixed transform is.
        inference: of one record, with the transform.
        step: of a training step, which reads what the transform gave before; a round's `step` where
            there is a round.
        round: with the radio; None for a model without a run.
        preparation: of the records of a run, where there is a transform.
        notes: where what is priced is not what was trained, one sentence each.
        held: against a board that was emulated, part by part; empty where none was.
        saved: by pruning and zeros, of an inference behind the transform; None if not counted.
    """

    subject: str
    chip: str
    arithmetic: Precision
    inference: Cost
    step: Cost
    round: RoundCost | None = None
    transform: Precision | None = None
    preparation: Preparation | None = None
    notes: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    saved: Saved | None = None

    @property
    def peak_bytes(self) -> int:
        """The most that training holds, in 99 of 100 steps, and before the first."""
        step = self.round.step.memory_99 if self.round else self.step.memory
        before = self.preparation.block.memory.peak_bytes if self.preparation else 0
        return max(step.peak_bytes, before)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with totals."""
        found: dict[str, Any] = {
            "subject": self.subject,
            "chip": self.chip,
            "arithmetic": asdict(self.arithmetic),
            "notes": list(self.notes),
            "inference": plain(self.inference),
            "step": plain(self.step),
        }
        if self.held:
            found["held"] = [asdict(one) | {"mended": one.mended} for one in self.held]
        if self.transform:
            found["transform"] = asdict(self.transform)
        if self.preparation:
            block = plain(self.preparation.block)
            found["preparation"] = asdict(self.preparation) | {"block": block}
        if self.saved:
            found["saved"] = plain_savings(self.saved)
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
        "held": [asdict(layer) for layer in cost.held],
        "rows": [asdict(row) for row in cost.rows],
    }


def plain_savings(saved: Saved) -> dict[str, Any]:
    """What is saved as plain data."""
    curve = [point._asdict() for point in saved.curve]
    return saved._asdict() | {"measured": saved.measured._asdict(), "curve": curve}


def cost_of_model(
    name: str, chip: Chip, workload: Workload, batch: int, subject: Subject | None = None
) -> Report:
    """A published network, or a model: one found before, or on images of MNIST's size.

    Raises:
        SettingsError: no such model.
    """
    subject, arithmetic = subject or find_subject(name), default_arithmetic(chip)
    return Report(
        subject=name,
        chip=chip.title,
        arithmetic=arithmetic,
        inference=_inference(subject, chip, arithmetic, Left(subject.network)),
        step=estimate(subject.network, chip, workload, arithmetic, batch),
        transform=transform_arithmetic(chip) if subject.transform else None,
        notes=notes_on(subject, chip, "", arithmetic),
    )


def modelled_run(run: Run, chip: Chip) -> Report:
    """A run, by the constants of the chip's file alone: `server.cost.cost_of_run` tells more.

    Raises:
        RunError: its data are not those it began with: shapes and records follow from them.
    """
    run.require_same_data()
    subject = subject_of(run.experiment)
    left = left_of_run(run, subject.network)
    report = _cost(run.experiment, run.manifest, chip, run.path.name, subject, left)
    if trained_as(run.path, run.experiment) is run.experiment:
        return report
    return replace(report, notes=(*report.notes, CUT_OUT))


def modelled_experiment(experiment: Experiment, chip: Chip) -> Report:
    """As `modelled_run`, before there is one."""
    split = partition(experiment.data, experiment.federation.clients, experiment.seed)
    subject = subject_of(experiment)
    left = left_of_plan(experiment, subject.network)
    return _cost(experiment, split, chip, experiment.title, subject, left)


def _cost(
    experiment: Experiment, split: Partition, chip: Chip, title: str, subject: Subject, left: Left
) -> Report:
    """Of an inference of what is left; training is priced as of the whole net."""
    network, arithmetic = subject.network, arithmetic_of(experiment, chip)
    records = most_records(split, experiment.data.nominal_records)
    rate = experiment.training.sample_rate
    workload = workload_of(experiment)
    if workload.step == "dp-sgd":
        step = estimate_step(network, chip, workload, arithmetic, records, rate)
    else:
        batch = min(records, max(1, round(rate * records)))
        step = fixed_step(network, chip, workload, arithmetic, batch)
    return Report(
        subject=title,
        chip=chip.title,
        arithmetic=arithmetic,
        inference=_inference(subject, chip, arithmetic, left),
        step=step.typical,
        round=estimate_round(network, chip, step, experiment.training.local_steps),
        transform=transform_arithmetic(chip) if subject.transform else None,
        preparation=_preparation(subject, chip, records),
        notes=notes_on(subject, chip, experiment.arithmetic.formats.kind, arithmetic)
        + notes_on_zeros(chip, left)
        + notes_on_nets(experiment.supernet, title)
        + ((IN_THE_CLEAR,) if isinstance(experiment, Learnt) else ()),
        saved=saved(left, network, chip, arithmetic),
    )


def notes_on_nets(supernet: Supernet, title: str) -> tuple[str, ...]:
    """What of a training of many nets is not priced."""
    if not supernet.trains:
        return ()
    return (
        f"a step of {title} trains up to {supernet.sampled + 2} nets ([supernet]): priced is the "
        "whole net alone, and each other costs as much again at most",
    )


def _inference(subject: Subject, chip: Chip, arithmetic: Precision, left: Left) -> Cost:
    """Of one record: the transform, which nobody did before, and what is left of the network."""
    network = estimate(left.network, chip, Workload(zeros=left.zeros), arithmetic, 1)
    if subject.transform is None:
        return network
    before = estimate(subject.transform, chip, Workload(), transform_arithmetic(chip), 1)
    return in_turn(before, network, chip)


def _preparation(subject: Subject, chip: Chip, records: int) -> Preparation | None:
    if subject.transform is None:
        return None
    whole, rest = divmod(records, subject.block)
    arithmetic = transform_arithmetic(chip)
    block, last = (
        estimate(subject.transform, chip, Workload(), arithmetic, size)
        for size in (min(subject.block, records), rest)
    )
    return Preparation(
        records=records,
        latency_s=whole * block.latency_s + last.latency_s,
        energy_j=whole * block.energy_j + last.energy_j,
        kept_bytes=records * subject.kept_bytes,
        block=block,
    )


def workload_of(experiment: Experiment) -> Workload:
    """The training step that a device of this experiment runs."""
    budget = experiment.budget
    if budget.unit != "record":
        return Workload("sgd")
    clipping = CLIPPING[experiment.training.per_sample]
    return Workload("dp-sgd", clipping, budget.clip, budget.noise_multiplier or 0.0)


def most_records(split: Partition, told: int) -> int:
    """Of the client that has most; of devices, which have their own, what is told of them."""
    owners = split.owner[~split.held_out]
    owners = owners[owners >= 0]
    if not len(owners) and told:
        return told
    if not len(owners):
        raise RunError("manifest: no client has a record to train on")
    return int(np.bincount(owners).max())
