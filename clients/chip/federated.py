"""A federated round on one device: local steps under Poisson sampling, and the radio.

A Poisson batch has Binomial(records, rate) records, so a step's latency is a random variable: its
mean and 99th percentile are computed from the distribution, over all sizes if there are few, else
over sizes evenly spaced between the quantiles at 0.0005 and 0.9995, linear between.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from clients.chip.cost import Cost, estimate
from clients.chip.hardware import Chip
from clients.chip.memory.peak import Memory, peak
from clients.chip.precision import Precision
from clients.chip.workloads.workload import Network, Workload

SIZES = 33  # at which a step is costed
UPDATE_BITS = 32  # an update travels as float32, as Flower sends it


@dataclass(frozen=True)
class StepCost:
    """A step on a random batch.

    Attributes:
        typical: the cost at the mean batch, by layer and phase.
        latency_s, energy_j: means.
        latency_std_s: standard deviation.
        latency_99_s: 99th percentile. `memory_99`: the memory for the 99th percentile of batches.
    """

    typical: Cost
    latency_s: float
    latency_std_s: float
    latency_99_s: float
    energy_j: float
    batch_99: int
    memory_99: Memory


@dataclass(frozen=True)
class RoundCost:
    """A round on one device.

    Attributes:
        latency_s: mean of compute and radio. `latency_99_s`: 99th percentile (steps are
            independent; their sum is taken as normal).
        radio_s, radio_j: of download and upload.
    """

    step: StepCost
    steps: int
    latency_s: float
    latency_99_s: float
    energy_j: float
    upload_bytes: int
    download_bytes: int
    radio_s: float
    radio_j: float


def estimate_step(
    model: Network, chip: Chip, workload: Workload, arithmetic: Precision, records: int, rate: float
) -> StepCost:
    """A step on a Poisson batch: each of `records` is in it with probability `rate`."""
    law = binom(records, rate)
    low, high = (int(law.ppf(p)) for p in (0.0005, 0.9995))
    sizes = np.unique(np.linspace(low, high, min(SIZES, high - low + 1)).round().astype(int))
    costs = [estimate(model, chip, workload, arithmetic, int(size)) for size in sizes]
    every = np.arange(low, high + 1)
    weight = law.pmf(every)
    weight /= weight.sum()
    latency_s = np.interp(every, sizes, [cost.latency_s for cost in costs])
    energy_j = np.interp(every, sizes, [cost.energy_j for cost in costs])
    mean_s = float(weight @ latency_s)
    batch_99 = int(law.ppf(0.99))
    return StepCost(
        typical=estimate(model, chip, workload, arithmetic, round(records * rate)),
        latency_s=mean_s,
        latency_std_s=float(np.sqrt(weight @ (latency_s - mean_s) ** 2)),
        latency_99_s=float(np.interp(batch_99, every, latency_s)),
        energy_j=float(weight @ energy_j),
        batch_99=batch_99,
        memory_99=peak(model, chip, workload, arithmetic, batch_99),
    )


def fixed_step(
    model: Network, chip: Chip, workload: Workload, arithmetic: Precision, batch: int
) -> StepCost:
    """A step on a batch of known size."""
    cost = estimate(model, chip, workload, arithmetic, batch)
    return StepCost(cost, cost.latency_s, 0.0, cost.latency_s, cost.energy_j, batch, cost.memory)


def estimate_round(model: Network, chip: Chip, step: StepCost, steps: int) -> RoundCost:
    """Download of the model, `steps` local steps, upload of an update of the same size."""
    size_bytes = model.parameters * UPDATE_BITS // 8
    bits, radio = 8 * size_bytes, chip.radio
    radio_s = bits / radio.upload_bits_per_s + bits / radio.download_bits_per_s
    radio_j = bits * (radio.upload_nj_per_bit + radio.download_nj_per_bit) * 1e-9
    idle_j = radio_s * chip.energy.static_w
    spread_s = 2.3263478740 * step.latency_std_s * steps**0.5  # the normal's 99th percentile
    return RoundCost(
        step=step,
        steps=steps,
        latency_s=steps * step.latency_s + radio_s,
        latency_99_s=steps * step.latency_s + spread_s + radio_s,
        energy_j=steps * step.energy_j + radio_j + idle_j,
        upload_bytes=size_bytes,
        download_bytes=size_bytes,
        radio_s=radio_s,
        radio_j=radio_j,
    )
