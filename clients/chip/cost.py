"""What a network costs on a chip: latency, energy, traffic, utilisation and memory, phase by phase.

A layer's latency is the slowest of three: the array (with the buses of its dataflow), the buffer's
ports, and DRAM; they overlap, except that outputs may have to drain alone. What works on each value
by itself is free on accelerators, whose outputs pass through it, and costs cycles on a
microcontroller. Layers that read all values before they give one (norms, softmax), tables, and the
norms, clipping, noise and update of a step run on the chip's lanes, and stream through its memory.
The weights of a recurrent layer stay from step to step where the chip has room for them.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from clients.chip.dataflows import (
    crossbar,
    mapping,
    microcontroller,
    multiplexed,
    stochastic,
    systolic,
)
from clients.chip.dataflows.execution import Execution
from clients.chip.dataflows.sparsity import density, packed
from clients.chip.energy import PARTS, PJ, price, word_bits
from clients.chip.hardware import Chip
from clients.chip.memory.peak import Held, Memory, by_layer, peak
from clients.chip.memory.peak import in_turn as peaks_in_turn
from clients.chip.memory.reload import stay, with_weights_kept
from clients.chip.precision import Precision
from clients.chip.rates import lane_seconds, passes_for, peak_rate
from clients.chip.workloads.nests import Task
from clients.chip.workloads.networks import reference
from clients.chip.workloads.training import tasks
from clients.chip.workloads.workload import Nest, Network, Workload
from privacy.errors import SettingsError

Bound = Literal["compute", "buffer", "dram"]
LEVELS = ("scratchpad", "network", "buffer", "dram")

RUNNERS = {
    "row-stationary": mapping.run,
    "weight-stationary": systolic.run,
    "input-stationary": systolic.run,
    "output-stationary": systolic.run,
    "microcontroller": microcontroller.run,
    "stochastic": stochastic.run,
    "crossbar": crossbar.run,
}


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """One phase of one layer.

    Attributes:
        latency_s: from start to end.
        processing_s: of array and buffer; what remains of latency_s waits for DRAM.
        compute_s: of the multipliers alone. `dram_s`: of DRAM alone.
        energy_j: joules by part, as in clients.chip.energy.PARTS.
        traffic_bytes: by level; in DRAM as sent, so compressed where the chip does.
        macs: multiply-accumulates of the loop nest, zeros included.
        active: processing elements at work.
        utilisation: products done, over what all elements could do in processing_s.
        performance_efficiency: operations a second over the chip's maximum (survey Eq. 1); products
            with a zero count, so a chip that skips them may pass 1.
        memory_access_efficiency: (Ni + No + Np) over the words that crossed to DRAM, uncompressed
            (survey Eq. 2); intermediates of the network count.
        bound: `dram` where it alone takes as long as array and buffer; else `compute` where the
            multipliers take at least half of processing_s; else `buffer`.
    """

    layer: str
    phase: str
    latency_s: float
    processing_s: float
    compute_s: float
    dram_s: float
    energy_j: dict[str, float]
    traffic_bytes: dict[str, float]
    macs: float
    active: float
    utilisation: float
    performance_efficiency: float
    memory_access_efficiency: float
    dram_words: float
    least_words: float
    bound: Bound


@dataclass(frozen=True)
class Cost:
    """What a step costs.

    Attributes:
        rows: by layer and phase, in the order of execution.
        memory: at the worst moment.
        held: by layer.
    """

    network: str
    chip: str
    batch: int
    rows: tuple[PhaseCost, ...]
    memory: Memory
    held: tuple[Held, ...] = ()

    @property
    def latency_s(self) -> float:
        """Of all rows."""
        return math.fsum(row.latency_s for row in self.rows)

    @property
    def processing_s(self) -> float:
        """Of array and buffer."""
        return math.fsum(row.processing_s for row in self.rows)

    @property
    def energy_j(self) -> float:
        """Of all rows and parts."""
        return math.fsum(self.energy_parts_j.values())

    @property
    def energy_parts_j(self) -> dict[str, float]:
        """Joules by part."""
        return {part: math.fsum(row.energy_j[part] for row in self.rows) for part in PARTS}

    @property
    def traffic_bytes(self) -> dict[str, float]:
        """Bytes by level."""
        return {name: math.fsum(row.traffic_bytes[name] for row in self.rows) for name in LEVELS}

    @property
    def macs(self) -> float:
        """Of all rows."""
        return math.fsum(row.macs for row in self.rows)

    @property
    def memory_access_efficiency(self) -> dict[str, float]:
        """By phase: least words over words moved."""
        found = {}
        for phase in dict.fromkeys(row.phase for row in self.rows):
            rows = [row for row in self.rows if row.phase == phase]
            moved = math.fsum(row.dram_words for row in rows)
            found[phase] = math.fsum(row.least_words for row in rows) / moved if moved else 1.0
        return found

    @property
    def performance_efficiency(self) -> float:
        """Operations a second over the chip's maximum."""
        busy = math.fsum(row.performance_efficiency * row.latency_s for row in self.rows)
        return busy / self.latency_s if self.latency_s else 0.0


def estimate(
    model: Network | str, chip: Chip, workload: Workload, arithmetic: Precision, batch: int
) -> Cost:
    """The cost of one step of `workload` on `batch` records.

    Args:
        model: a network (clients.chip.workloads.trace.trace makes one of a torch model), or the
            name of a reference network.
        arithmetic: widths of the operands.

    Raises:
        SettingsError: the chip does not compute such an arithmetic.
    """
    network = reference(model) if isinstance(model, str) else model
    return _estimate(network, chip, workload, arithmetic, batch)


def in_turn(first: Cost, then: Cost, chip: Chip) -> Cost:
    """Two inferences on the same records, one after the other: a fixed transform and its model."""
    memory = peaks_in_turn(first.memory, then.memory, chip)
    return Cost(
        then.network, then.chip, then.batch, first.rows + then.rows, memory, first.held + then.held
    )


@lru_cache(maxsize=1024)
def _estimate(
    network: Network, chip: Chip, workload: Workload, precision: Precision, batch: int
) -> Cost:
    if batch < 0:
        raise ValueError(f"batch = {batch}: must not be negative")
    if precision.kind not in chip.kinds:
        raise SettingsError(
            f"chip {chip.title!r} does not compute {precision.kind} arithmetic; it has "
            f"{', '.join(chip.kinds)}"
        )
    rows = []
    for task in tasks(network, workload, batch):
        if task.passing and chip.microcontroller is None:
            continue
        if task.nest is not None and (batch == 0 or task.nest.macs == 0):
            continue
        rows.append(_cost(task, chip, workload, precision))
    memory = peak(network, chip, workload, precision, batch)
    held = by_layer(network, workload, precision, batch)
    return Cost(network.name, chip.title, batch, tuple(rows), memory, held)


def _cost(task: Task, chip: Chip, workload: Workload, precision: Precision) -> PhaseCost:
    repeat, workload = task.repeat, workload.of(task.layer)
    done = _execute(task.nest, chip, workload, precision) if task.nest else Execution(0, 0, 0, 0)
    if task.nest and task.stays and stay(task.nest, chip, precision):
        done = with_weights_kept(done, repeat)
    passes = passes_for(chip, precision)
    clock, memory = chip.clock_hz, chip.memory
    # Array and buffer.
    array_s = repeat * passes * done.cycles / clock
    buffer_s = 0.0
    if memory.buffer_words_per_cycle:
        buffer_s = repeat * passes * done.buffer.words / memory.buffer_words_per_cycle / clock
    lanes_s = lane_seconds(task, chip)
    processing_s = max(array_s, buffer_s) + lanes_s
    compute_s = repeat * passes * done.compute_cycles / clock + lanes_s
    # DRAM.
    squeezed = packed(chip.array, workload, precision.activation_bits)
    activation = precision.activation_bits * squeezed
    output_bits = done.dram.outputs * activation
    computed = task.nest is not None and task.nest.computed
    weight_bits = done.dram.weights * (activation if computed else precision.weight_bits)
    bits = done.dram.inputs * activation + weight_bits + output_bits
    moved_bits = task.moved * _stream_bits(task, precision)
    dram_bits = repeat * bits + moved_bits
    dram_s = drain_s = 0.0
    if memory.dram_bytes_per_s:
        dram_s = dram_bits / 8 / memory.dram_bytes_per_s
        if memory.drains_alone:
            drain_s = repeat * output_bits / 8 / memory.dram_bytes_per_s
    latency_s = max(processing_s, dram_s - drain_s) + drain_s
    # Joules and efficiencies.
    joules = price(done, chip, precision, workload, bits)
    joules = {part: repeat * value for part, value in joules.items()}
    energy = chip.energy
    joules["lane"] += task.lane_operations * energy.lane.pj * PJ
    joules["random"] += task.gaussians * energy.gaussian.pj * PJ
    joules["dram"] += moved_bits / chip.word_bits * energy.dram.pj * PJ
    joules["static"] += latency_s * energy.static_w
    words = repeat * done.dram.words + task.moved
    least = _least_words(task) + task.moved
    macs = repeat * (task.nest.macs if task.nest else 0)
    rate = peak_rate(chip, precision)
    sums = max(chip.sum_bits, precision.activation_bits)
    widest = max(precision.weight_bits, precision.activation_bits)
    return PhaseCost(
        layer=task.layer,
        phase=task.phase,
        latency_s=latency_s,
        processing_s=processing_s,
        compute_s=compute_s,
        dram_s=dram_s,
        energy_j=joules,
        traffic_bytes={
            "scratchpad": repeat * done.scratchpad * widest / 8,
            "network": repeat * word_bits(done.network, precision, sums) / 8,
            "buffer": repeat * word_bits(done.buffer, precision, sums) / 8,
            "dram": dram_bits / 8,
        },
        macs=macs,
        active=done.active,
        utilisation=min(1.0, repeat * done.macs / rate / processing_s) if processing_s else 0.0,
        performance_efficiency=macs / rate / latency_s if latency_s else 0.0,
        memory_access_efficiency=least / words if words else 1.0,
        dram_words=words,
        least_words=least,
        bound=_bound(processing_s, compute_s, dram_s),
    )


def _execute(nest: Nest, chip: Chip, workload: Workload, precision: Precision) -> Execution:
    if chip.dataflow == "multiplexed":
        return multiplexed.run(nest, chip, precision, density(chip.array, workload))
    return RUNNERS[chip.dataflow](nest, chip, precision)


def _stream_bits(task: Task, precision: Precision) -> int:
    """Gradients and noise are held in 32 bits; element-wise layers read activations."""
    return precision.activation_bits if task.phase == "forward" else 32


def _least_words(task: Task) -> int:
    """Each operand once; of weights that stay, once for all times."""
    if (nest := task.nest) is None:
        return 0
    once = 1 if task.stays else task.repeat
    return task.repeat * (nest.inputs + nest.outputs) + once * nest.weights


def _bound(processing_s: float, compute_s: float, dram_s: float) -> Bound:
    if dram_s >= processing_s and dram_s > 0:
        return "dram"
    return "compute" if compute_s >= 0.5 * processing_s else "buffer"
