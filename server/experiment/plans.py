"""What an experiment will promise, cost and need: said before anything is trained."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clients.data.told.coverage import MORE
from privacy.dp.clipping.split import Split
from privacy.dp.ledger import Ledger
from privacy.text import told_apart
from server.experiment.experiment import Experiment
from server.experiment.prepared import Outlined, sketch
from server.experiment.promise import clipping_of, covered_by, large_delta, told_epsilon

FLOAT_BYTES = 4
WANDERING = 0.2  # of its logarithm: how far noise alone may move a clip in a round
WEAK_NOISE = 0.3  # noise of a mean gradient, over the clip: above it little is learned
SHOWN_ROUNDS = 6


@dataclass(frozen=True)
class Plan:
    """Figures by name, and what is doubtful."""

    facts: dict[str, Any]
    doubts: list[str] = field(default_factory=list)


def plan(experiment: Experiment) -> Plan:
    """Read the records, and count.

    Raises:
        DataError, ModelError, SettingsError: as a run would.
    """
    return plan_of(sketch(experiment), device_of(experiment))


def plan_of(ready: Outlined, device: str = "") -> Plan:
    """What an experiment that can be run promises, and what is doubtful.

    Args:
        device: what `device_of` says of it as it was asked for.
    """
    asked, dataset, parts, outline = ready
    clients, dealt = asked.federation.clients, asked.data.partition != "nodes"
    mine = [parts.members(client) for client in range(clients)] if dealt else []
    sizes = np.array([len(members) for members in mine] or [asked.data.nominal_records])
    weights = outline.weights
    kind = {"picture": "pictures", "window": "windows", "sound": "sounds", "table": "rows"}
    batch = asked.training.sample_rate * sizes
    facts: dict[str, Any] = {
        "records": f"{len(dataset.train_y):,} {kind[dataset.kind]} of shape "
        f"{'x'.join(map(str, dataset.form.shape))} to train on, {len(dataset.test_y):,} for tests",
        "clients": f"{clients}, of {sizes.min():,} to {sizes.max():,} records to train on"
        if dealt
        else f"{clients} devices with records of their own, about {sizes[0]:,} as they are told",
        "expected_batch": f"{batch.min():.3g} to {batch.max():.3g} records",
        "weights": f"{weights:,}; {weights * FLOAT_BYTES:,} bytes down and up in a round",
    }
    if device:
        facts["device"] = device
    if asked.budget.unit == "record":
        facts["gradients"] = outline.gradients
    doubts = [outline.norms] if outline.norms else []
    if dataset.task == "classes":
        names = told_apart(dataset.names or tuple(map(str, range(dataset.num_classes))))
        told = ", ".join(names[:12]) if dataset.names else "numbered"
        facts["classes"] = f"{dataset.num_classes}: {told}"
    if dataset.task == "classes" and dealt:
        seen = [set(np.unique(dataset.train_y[members]).tolist()) for members in mine]
        if single := sum(len(one) == 1 for one in seen):
            doubts.append(f"{single} of {clients} clients have records of one class only")
        if lonely := [
            names[c]
            for c in range(dataset.num_classes)
            if sum(c in one for one in seen) == 1 < clients
        ]:
            doubts.append(f"one client alone has records of {', '.join(lonely[:5])}")
        absent = set(range(dataset.num_classes)) - set().union(*seen)
        if absent:
            doubts.append(f"{len(absent)} of {dataset.num_classes} classes have no record")
    most = parts.most_of(dataset.train_person)
    if dataset.train_person is not None and dealt:
        facts["persons"] = f"{len(np.unique(dataset.train_person.astype(str)))}, of up to {most:,}"
    _add_promise(asked, int(sizes.min()), weights, most, facts, doubts)
    doubts += _overlapping(asked)
    if not len(dataset.test_y):
        doubts.append("there is no test record: no accuracy will be told; see [data] test")
    for name, count in dataset.counts:
        doubts.append(f"{name}: {count:,}")
    return Plan(facts, doubts)


def _overlapping(experiment: Experiment) -> Iterator[str]:
    """What is doubtful of windows that share samples."""
    data = experiment.data
    if not data.windows.step < data.windows.length:
        return
    times = math.ceil(data.windows.length / data.windows.step)
    yield (
        f"windows overlap: a sample is in {times} of them, so for a sample it is {times} {MORE}; "
        f"set [data.windows] step = {data.windows.length}"
    )
    if data.test_share and not data.person:
        yield (
            "windows overlap, and those for tests are drawn one by one: they share samples with "
            "those trained on, and accuracy is flattered; say whose they are: [data] person"
        )


def device_of(experiment: Experiment) -> str:
    """Where steps are computed, and why on no GPU; empty if none was asked for."""
    asked = experiment.training.device
    if asked == "cpu":
        return ""
    from clients.training import gpu

    if experiment.federation.engine == "superlink":
        return f"{asked}, on each device of its own"
    if why := gpu.why_not(experiment):
        return f"cpu: [training] device = {asked!r}, and {why}"
    return f"cuda: {gpu.described().get('gpu', '')}"


def _add_promise(
    asked: Experiment,
    fewest: int,
    weights: int,
    most: int,
    facts: dict[str, Any],
    doubts: list[str],
) -> None:
    budget = asked.budget
    if budget.unit == "none" or budget.noise_multiplier is None:
        facts["promise"] = "none: [budget] unit = 'none'"
        return
    rounds = asked.federation.rounds_per_client
    rate, steps = asked.sample_rate, asked.steps_per_round
    facts["noise"] = f"{budget.noise_multiplier:.4g} x the clip of {budget.clip:g}, at each step"
    if told := clipping_of(asked):
        facts["clipping"] = told
        doubts += _lost_count(asked)
    path = []
    for done in sorted({1, *np.linspace(1, rounds, SHOWN_ROUNDS).astype(int).tolist()}):
        ledger = Ledger().with_charge(budget.noise_multiplier, rate, steps * done)
        path.append(f"{told_epsilon(asked, ledger):.3g} after {done}")
    facts["epsilon"] = f"{', '.join(path)} rounds of a client, at delta {budget.delta:g}"
    if covered := covered_by(asked, most):
        facts["covers"] = covered
    protected = fewest if budget.unit == "record" else asked.federation.clients
    doubts += large_delta(asked, protected)
    if budget.unit == "record" and (expected := rate * fewest) > 0:
        # of each step's mean gradient: its norm is at most the clip, the noise's is this
        noise = budget.noise_multiplier * math.sqrt(weights) / expected
        cohort = asked.federation.cohort_size
        left = noise / math.sqrt(cohort * steps)
        facts["signal"] = (
            f"in the mean of {cohort} clients' {steps} steps the noise is {left:.2g} x the clip"
        )
        if left > WEAK_NOISE * math.sqrt(rounds):
            doubts.append(
                "the noise is many times the gradient: ask for a larger epsilon, more records a "
                "batch, more clients, or a smaller model"
            )


def _lost_count(asked: Experiment) -> Iterator[str]:
    """Few clients cannot be counted under noise."""
    budget, cohort = asked.budget, asked.federation.cohort_size
    noise = Split.of(budget).of_count / cohort
    if budget.clip_rate * min(noise, 0.5) > WANDERING:
        yield (
            f"the clip follows a count of {cohort} clients whose noise is {noise:.0%} of them: it "
            "wanders; ask for more clients in a round, a lower [budget] clip_rate, or "
            "clip_quantile = 0"
        )
