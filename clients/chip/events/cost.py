"""Counted events -> joules and seconds, record by record.

In each of T steps a layer's synapses take the spikes that arrive, its neurons are updated, and some
fire. A chip of neurons works on all layers at once, each a step behind the one before it, so an
answer takes as many further steps as there are layers after the first; in these no spike is
counted, and every neuron is updated all the same. P-bits are read in turn. A step is as long as its
busiest core, a layer's work being shared evenly by its cores, and the barrier after it.

Shapes: R records, T steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.chip.energy import PJ
from clients.chip.events.hardware import EventChip
from clients.chip.events.placement import Places, place

NS = 1e-9
PARTS = ("synapse", "neuron", "routing", "learning")
Counts = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerEvents:
    """What was counted of a layer.

    Attributes:
        neurons: that it has. `weights`: that are stored for it.
        arriving: spikes that came in, [R, T]. `events`: synapses at which they did, [R, T].
        active: neurons that one reached at least, [R, T]. `fired`: spikes made, [R, T].
        learnt: weights that a record would change, [R].
    """

    name: str
    neurons: int
    weights: int
    arriving: Counts
    events: Counts
    active: Counts
    fired: Counts
    learnt: Counts


@dataclass(frozen=True)
class LayerCost:
    """Of one layer, means over records.

    Attributes:
        updates: of neurons, idle ones too.
        energy_j: by part, as in `PARTS`.
    """

    layer: str
    neurons: int
    cores: int
    arriving: float
    events: float
    updates: float
    active: float
    fired: float
    energy_j: dict[str, float]


@dataclass(frozen=True)
class EventCost:
    """Of one record on an event-driven chip.

    Attributes:
        records: that were counted. `steps`: until the answer.
        energy_j, latency_s: means; `energy_99_j`, `latency_99_s`: of 99 in 100 records, no more.
        cores: taken, of `limit_cores`.
        whole_j: what the whole chip takes meanwhile, if nothing else runs on it; None where no such
            power is published.
    """

    chip: str
    records: int
    steps: int
    rows: tuple[LayerCost, ...]
    energy_j: float
    energy_99_j: float
    latency_s: float
    latency_99_s: float
    cores: int
    limit_cores: int
    whole_j: float | None

    @property
    def fits(self) -> bool:
        """Are there so many cores?"""
        return self.cores <= self.limit_cores


def price(layers: Sequence[LayerEvents], chip: EventChip, *, learns: bool = False) -> EventCost:
    """Args: learns: weights change, too, where the chip can change them."""
    places = place(chip, [(layer.neurons, layer.weights) for layer in layers])
    steps = layers[0].events.shape[1] + (len(layers) - 1) * (chip.kind == "spiking")
    energy_R, rows = np.zeros(len(layers[0].events)), []
    for layer, at in zip(layers, places, strict=True):
        joules = _joules(layer, at, chip, steps, learns)
        energy_R = energy_R + sum(joules.values())
        rows.append(
            LayerCost(
                layer=layer.name,
                neurons=layer.neurons,
                cores=at.cores,
                arriving=_each(layer.arriving),
                events=_each(layer.events),
                updates=float(layer.neurons * steps),
                active=_each(layer.active),
                fired=_each(layer.fired),
                energy_j={part: float(joules[part].mean()) for part in PARTS},
            )
        )
    latency_R = _seconds(layers, places, chip, steps, learns)
    latency_s = float(latency_R.mean())
    return EventCost(
        chip=chip.title,
        records=len(energy_R),
        steps=steps,
        rows=tuple(rows),
        energy_j=float(energy_R.mean()),
        energy_99_j=float(np.quantile(energy_R, 0.99, method="higher")),
        latency_s=latency_s,
        latency_99_s=float(np.quantile(latency_R, 0.99, method="higher")),
        cores=places[-1].after,
        limit_cores=chip.cores.number,
        whole_j=chip.whole_w * latency_s if chip.whole_w else None,
    )


def _each(counts: Counts) -> float:
    """Of a record, all its steps together."""
    return float(counts.sum(1).mean())


def _joules(
    layer: LayerEvents, at: Places, chip: EventChip, steps: int, learns: bool
) -> dict[str, Counts]:
    """Of each record [R], by part."""
    pj = chip.energy
    arriving, active = layer.arriving.sum(1), layer.active.sum(1)
    route = at.cores * pj.spike.pj + at.hops_x * pj.hop_x.pj + at.hops_y * pj.hop_y.pj
    idle = layer.neurons * steps - active
    learnt = layer.learnt * pj.learn.pj if learns and pj.learn else 0 * layer.learnt
    return {
        "synapse": layer.events.sum(1) * pj.synapse.pj * PJ,
        "neuron": (active * pj.neuron.pj + idle * pj.idle_neuron.pj) * PJ,
        "routing": (arriving * route + layer.fired.sum(1) * pj.fire.pj) * PJ,
        "learning": learnt * PJ,
    }


def _seconds(
    layers: Sequence[LayerEvents],
    places: Sequence[Places],
    chip: EventChip,
    steps: int,
    learns: bool,
) -> Counts:
    """Of each record [R]."""
    ns = chip.time
    each = [
        (layer.events * ns.synapse_ns + layer.neurons * ns.neuron_ns) / at.cores
        for layer, at in zip(layers, places, strict=True)
    ]
    after = max(n.neurons * ns.neuron_ns / at.cores for n, at in zip(layers, places, strict=True))
    tiles = math.ceil(places[-1].after / chip.cores.in_tile)
    barrier = ns.barrier_ns + (tiles - 1) * ns.tile_ns
    counted = np.maximum(np.max(each, axis=0) + barrier, ns.tick_ns).sum(1)
    further = (steps - layers[0].events.shape[1]) * max(after + barrier, ns.tick_ns)
    learning = [n.learnt * ns.learn_ns / at.cores for n, at in zip(layers, places, strict=True)]
    return (counted + further + learns * np.max(learning, axis=0)) * NS
