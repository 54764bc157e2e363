"""The chip model held against instructions that a run's C was seen to execute, and mended by them.

What is compared is privet's own C: kernels of a library, of which a chip's file tells, take other
times. Counted cycles are a range; a modelled figure is off by as much as it is beyond the nearer
end.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clients.chip import Chip, Cost, PhaseCost
from clients.chip.federated import StepCost, estimate_round
from clients.chip.workloads.workload import Network
from clients.firmware.budget import Part
from privacy.errors import ModelError
from server.cost.reports import Held, Report

FORWARD, BACKWARD, GRADIENT, NOISE, REST = "forward", "backward", "gradient", "noise", "rest"
OF_MODEL = {
    "forward": FORWARD, "input gradient": BACKWARD, "weight gradient": GRADIENT, "norms": GRADIENT,
    "clip": GRADIENT, "noise": NOISE, "update": NOISE, "rest": REST,
}  # fmt: skip
OF_BOARD = {
    "forward": FORWARD, "backward": BACKWARD, "accumulate": GRADIENT, "clip": GRADIENT,
    "noise": NOISE, "project": NOISE,
}  # fmt: skip
PHASES = {FORWARD: FORWARD, BACKWARD: "input gradient", GRADIENT: "weight gradient", REST: REST}
ONCE = (NOISE, REST)  # a step, however many records it reads
ALL = "all layers"
MOST_S = 1e9  # of any part
Seconds = dict[tuple[str, str], tuple[float, float]]  # by layer and part: least and most


def hold(
    cost: Cost, network: Network, chip: Chip, parts: Iterable[Part], records: int
) -> tuple[Held, ...]:
    """Compare a step's cost with a counted step, layer by layer.

    Args:
        parts: of a step of so many `records`, on the chip's own core.

    Raises:
        ModelError: the C has other layers than the model.
    """
    return compared(cost, seconds_of(network, chip, parts, records))


def seconds_of(network: Network, chip: Chip, parts: Iterable[Part], records: int) -> Seconds:
    """Of a record; of noise and rest, of a step: by layer and part, least and most.

    Raises:
        ModelError: the C has other layers than the model.
    """
    names = [layer.name for layer in network.layers]
    found: dict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for one in parts:
        part = OF_BOARD.get(one.phase, REST)
        if one.layer >= len(names):
            raise ModelError(f"layer {one.layer + 1} of the C: the chip model has {len(names)}")
        layer = names[one.layer] if one.layer >= 0 else ALL
        cycles = chip.clock_hz * (1 if part in ONCE else records)
        least, most = found[layer, part]
        found[layer, part] = (least + one.cycles[0] / cycles, most + one.cycles[1] / cycles)
    return dict(found)


def compared(cost: Cost, counted: Seconds) -> tuple[Held, ...]:
    """Of a step's cost, what was counted and what is modelled."""
    modelled: dict[tuple[str, str], float] = defaultdict(float)
    for row in cost.rows:
        part = OF_MODEL[row.phase]
        place = (ALL, NOISE) if part == NOISE else (row.layer, part)
        modelled[place] += row.latency_s / (1 if part in ONCE else cost.batch)
    found = []
    for (layer, part), (least, most) in counted.items():
        seen = modelled.get((layer, part), 0.0)
        error = (seen - min(max(seen, least), most)) / (least if seen < least else most)
        found.append(Held(layer, part, seen, (least, most), error if seen else None))
    return tuple(found)


def counted_before(costs: Iterable[Any], chip: Chip) -> Seconds:
    """What an earlier report of a run on this chip has counted; nothing if none has."""
    for report in costs:
        try:
            if report["chip"] == chip.title:
                rows = [(one["layer"], one["part"], *one["counted_s"]) for one in report["held"]]
                seconds = {
                    (str(a), str(b)): (float(least), float(most)) for a, b, least, most in rows
                }
                parts = {part for _, part in seconds}
                if parts <= set(PHASES) | {NOISE} and all(
                    0 < least <= most < MOST_S for least, most in seconds.values()
                ):
                    return seconds
        except (KeyError, TypeError, ValueError):
            continue  # another's, or damaged
    return {}


def mended(report: Report, network: Network, chip: Chip, held: tuple[Held, ...]) -> Report:
    """The report with what was counted wherever the model is more than MOST_ERROR beyond it.

    What has no row gets one.
    """
    factors = {(one.layer, one.part): one.mended for one in held}
    return replace(replaced(report, network, chip, held, factors), held=held)


def replaced(
    report: Report,
    network: Network,
    chip: Chip,
    held: tuple[Held, ...],
    factors: Mapping[tuple[str, str], float],
) -> Report:
    """The report with rows multiplied, by layer and part; what has no row gets one."""
    read = tuple(one for one in held if one.part == FORWARD)
    inference = replace(report.inference, rows=_rows(report.inference, read, factors, chip))
    step = replace(report.step, rows=_rows(report.step, held, factors, chip))
    found = replace(report, inference=inference, step=step)
    if report.round is None:
        return found
    of_round = _step(report.round.step, step, chip)
    return replace(found, round=estimate_round(network, chip, of_round, report.round.steps))


def _rows(
    cost: Cost, held: Iterable[Held], factors: Mapping[tuple[str, str], float], chip: Chip
) -> tuple[PhaseCost, ...]:
    found = []
    for row in cost.rows:
        part = OF_MODEL[row.phase]
        by = factors.get((ALL if part == NOISE else row.layer, part), 1.0)
        found.append(
            replace(
                row,
                latency_s=by * row.latency_s,
                processing_s=by * row.processing_s,
                compute_s=by * row.compute_s,
                energy_j={name: by * joules for name, joules in row.energy_j.items()},
                performance_efficiency=row.performance_efficiency / by,
                utilisation=min(1.0, row.utilisation / by),
            )
        )
    for one in held:
        if one.error is None:
            found.append(_row(one, 1 if one.part in ONCE else cost.batch, chip, cost.rows[0]))
    return tuple(found)


def _row(one: Held, times: int, chip: Chip, like: PhaseCost) -> PhaseCost:
    """Of what the model has not: no products, and nothing that leaves the chip."""
    seconds = times * sum(one.counted_s) / 2
    joules = dict.fromkeys(like.energy_j, 0.0) | {"static": seconds * chip.energy.static_w}
    return PhaseCost(
        layer=one.layer, phase=PHASES[one.part], latency_s=seconds, processing_s=seconds,
        compute_s=seconds, dram_s=0.0, energy_j=joules,
        traffic_bytes=dict.fromkeys(like.traffic_bytes, 0.0), macs=0.0, active=0.0,
        utilisation=0.0, performance_efficiency=0.0, memory_access_efficiency=1.0, dram_words=0.0,
        least_words=0.0, bound="compute",
    )  # fmt: skip


def _step(step: StepCost, typical: Cost, chip: Chip) -> StepCost:
    """Of a random batch: what is of each record grows with it, what is of a step does not."""
    before_once, before_each = _once_and_each(step.typical)
    once, each = _once_and_each(typical)
    mean = (step.latency_s - before_once) / before_each  # records
    latency_s = once + each * mean
    return StepCost(
        typical=typical,
        latency_s=latency_s,
        latency_std_s=step.latency_std_s * each / before_each,
        latency_99_s=once + each * step.batch_99,
        energy_j=latency_s * chip.energy.static_w,
        batch_99=step.batch_99,
        memory_99=step.memory_99,
    )


def _once_and_each(cost: Cost) -> tuple[float, float]:
    once = sum(row.latency_s for row in cost.rows if OF_MODEL[row.phase] in ONCE)
    return once, (cost.latency_s - once) / cost.batch
