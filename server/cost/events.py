"""What a run of neurons that fire, or of p-bits, costs on an event-driven chip.

All is counted, not assumed: on test records, in the run's last weights, synapse by synapse.

Shapes: B records, T steps.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clients.arithmetic.pbits.machine import BoltzmannLinear
from clients.arithmetic.spiking.chain import AtEachStep, OverTime, parts
from clients.arithmetic.spiking.coding import Encoder
from clients.arithmetic.spiking.neurons import Neurons
from clients.arithmetic.spiking.plasticity import PlasticLinear
from clients.chip.events import EventChip, EventCost, LayerEvents, price
from clients.layers import AddChannel, MaxPool2d
from clients.training.records import records
from privacy.errors import ModelError, RunError, SettingsError
from server.cost.reports import most_records
from server.cost.zeros import ASKED, filled
from server.experiment.conditions import by_itself
from server.run.directory import Run

EVENTS = "events.json"  # in a run directory, by chip
BATCH = 64
SHAPED = (nn.Flatten, AddChannel, nn.Identity)  # no event in them
AS_SPIKES = (
    "records come as currents, which are no spikes: each number but 0 is priced as one, once a "
    "record"
)


@dataclass(frozen=True)
class EventReport:
    """Costs of one run on one chip.

    Attributes:
        inference: of one record.
        step: of one record of a training step, and `batch` how many it has; None where the chip
            cannot train the net, which a note says.
    """

    subject: str
    chip: str
    inference: EventCost
    step: EventCost | None
    batch: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def events_of_run(run: Run, chip: EventChip) -> EventReport:
    """Count, and price what was counted.

    Raises:
        SettingsError: nothing fires in the run, or something else than the chip has.
        ModelError: a layer between spikes that no spike goes through.
        RunError: it has no round or no test record yet, or its data are not those it began with.
    """
    experiment, name = run.experiment, run.path.name
    if experiment.arithmetic.name != chip.kind:
        raise SettingsError(
            f"{name}: [arithmetic] name = {experiment.arithmetic.name!r}: {_short(chip)} computes "
            f"{chip.kind!r} only; price the run on another chip, or train with name = {chip.kind!r}"
        )
    run.require_same_data()
    _, test = records(experiment.data, experiment.model)
    if not run.rounds or not len(test):
        raise RunError(f"{name}: events are counted on test records, after a round: there is none")
    net = filled(experiment, run.weights(len(run.rounds)))
    x = test.inputs(torch.arange(min(ASKED, len(test))))
    count = of_neurons if chip.kind == "spiking" else of_pbits
    layers = _joined([count(net, some) for some in x.split(BATCH)])
    learning = layers if chip.kind == "spiking" else of_learning(net, x)
    step = price(learning, chip, learns=True) if _learns(chip, learning) else None
    most = most_records(run.manifest, experiment.data.nominal_records)
    batch = max(1, round(experiment.training.sample_rate * most))
    notes = [
        *chip.notes,
        f"trained in 32-bit floats; what it answers with synapses of {chip.weight_bits} bits was "
        "not measured",
    ]
    if experiment.arithmetic.name == "spiking" and experiment.arithmetic.coding == "current":
        notes.append(AS_SPIKES)
    if step is None:
        why = "it has no price for a weight that changes"
        if not by_itself(experiment):
            why = "the gradient goes back through time, and no event does"
        notes.append(f"no training step on {_short(chip)}: {why}")
    else:
        notes.append("of a training step the readout's gradient, a clip and noise are not priced")
    return EventReport(name, chip.title, price(layers, chip), step, batch, tuple(notes))


def _short(chip: EventChip) -> str:
    return chip.title.partition(":")[0]


def _learns(chip: EventChip, layers: list[LayerEvents]) -> bool:
    return chip.energy.learn is not None and any(layer.learnt.any() for layer in layers)


# ---- neurons that fire


@dataclass(frozen=True)
class _Reached:
    """Where spikes arrive: how many, at how many synapses, at how many neurons, each [B, T]."""

    weights: int
    neurons: int
    arriving: Tensor
    events: Tensor
    active: Tensor

    def layer(self, name: str, fired: Tensor, learnt: Tensor | None = None) -> LayerEvents:
        """Args: fired: spikes that its neurons made, [B, T]."""
        none = torch.zeros(len(fired))
        counted = (
            self.arriving,
            self.events,
            self.active,
            fired,
            none if learnt is None else learnt,
        )
        return LayerEvents(
            name, self.neurons, self.weights, *(np.asarray(c, np.float64) for c in counted)
        )


@torch.no_grad()
def of_neurons(net: nn.Module, x: Tensor) -> list[LayerEvents]:
    """Of each layer of a spiking net, while it answers records [B, ...].

    Raises:
        ModelError: what comes out of a layer between spikes is no spikes.
    """
    before, chain = parts(net)
    steps = next(layer.steps for layer in chain if isinstance(layer, Encoder | Neurons))
    x, found, reached, over = before(x), [], None, False
    held = not any(isinstance(layer, Encoder) and layer.fires for layer in chain)
    for name, layer in chain.named_children():
        inner = layer.layer if isinstance(layer, AtEachStep) else layer
        if isinstance(layer, OverTime):
            over = True
        elif isinstance(inner, nn.Linear | nn.Conv2d | MaxPool2d | PlasticLinear):
            reached, held = _reached(inner, x, steps if held else 0), False
            x = x if over else layer(x)
            if over:
                found.append(reached.layer(f"readout {name}", torch.zeros(x.shape[:2])))
            elif isinstance(inner, MaxPool2d):
                found.append(reached.layer(f"largest {name}", _summed(x)))
            elif isinstance(inner, PlasticLinear):
                found.append(_plastic(reached, f"neurons {name}", _summed(x), inner))
        elif isinstance(layer, Neurons):
            assert reached is not None
            x = layer(x)
            found.append(reached.layer(f"neurons {name}", _summed(x)))
        elif isinstance(inner, (Encoder, *SHAPED)):
            x = layer(x)
        else:
            raise ModelError(
                f"{type(inner).__name__} between spikes: what it gives is no spike, and an event-"
                "driven chip has nothing else; use [model] pooling = 'max', norm = 'none'"
            )
    return found


def _plastic(reached: _Reached, name: str, fired: Tensor, layer: PlasticLinear) -> LayerEvents:
    """A neuron also inhibits all others, through synapses; at its spike all its weights change."""
    outputs, inputs = layer.weight.shape
    beside = replace(
        reached,
        weights=reached.weights + outputs * (outputs - 1),
        events=reached.events + fired * (outputs - 1),
    )
    return beside.layer(name, fired, inputs * fired.sum(1))


def _summed(spikes: Tensor) -> Tensor:
    return spikes.flatten(2).sum(2)


def _reached(layer: nn.Module, x: Tensor, held: int) -> _Reached:
    """Of spikes [B, T, ...]; or of numbers [B, ...] that are held for so many steps."""
    spikes = (x != 0).float()
    spikes = spikes.unsqueeze(1) if held else spikes
    batch, weights = spikes.shape[:2], sum(p.numel() for p in layer.parameters())
    if isinstance(layer, nn.Conv2d):
        kernel = torch.ones(1, layer.in_channels, *layer.kernel_size)
        each = F.conv2d(spikes.flatten(0, 1), kernel, None, layer.stride, layer.padding)
        alike = layer.out_channels  # neurons that the same spikes reach
    elif isinstance(layer, MaxPool2d):
        kernel, alike = torch.ones(1, 1, layer.size, layer.size), 1
        each = F.conv2d(spikes.flatten(0, 2).unsqueeze(1), kernel, None, layer.stride)
        weights = kernel.numel()
    else:
        assert isinstance(layer, nn.Linear | PlasticLinear)
        each, alike = spikes.sum(2), len(layer.weight)
    each = each.reshape(*batch, -1)
    counted = (_summed(spikes), alike * each.sum(2), alike * (each > 0).sum(2).float())
    neurons = alike * each.shape[2]
    if held:
        arriving, events, active = (F.pad(c, (0, held - 1)) for c in counted)
        counted = arriving, events, torch.full_like(active, neurons)  # by their currents
    return _Reached(weights, neurons, *counted)


# ---- p-bits


@torch.no_grad()
def of_pbits(net: nn.Module, x: Tensor) -> list[LayerEvents]:
    """Of each layer of a net of Boltzmann machines, while it answers records [B, ...]: the field of
    a p-bit is summed once, before its first read."""
    found = []
    reads = next(layer.reads for layer in net.children() if isinstance(layer, BoltzmannLinear))
    for name, layer in net.named_children():
        if isinstance(layer, BoltzmannLinear):
            every = range(reads)
            found.append(_pbits(f"p-bits {name}", layer.weight, x, [0], every, reads))
        elif isinstance(layer, nn.Linear):
            last = [reads - 1]
            found.append(_pbits(f"readout {name}", layer.weight, x, last, last, reads))
        x = layer(x)
    return found


@torch.no_grad()
def of_learning(net: nn.Module, x: Tensor) -> list[LayerEvents]:
    """Of a step of contrastive divergence: hidden and visible p-bits of each machine, in turn."""
    found = []
    for name, layer in net.named_children():
        if isinstance(layer, BoltzmannLinear):
            ones_h, ones_v = layer.walk(x).ones.unbind(1)
            steps, weight = 2 * layer.sweeps, layer.weight
            up, down = range(0, steps, 2), range(1, steps, 2)
            heard = (x != 0).sum(1) + ones_v
            found += [
                _pbits(f"hidden {name}", weight, heard, up, up, steps, learns=True),
                _pbits(f"visible {name}", weight.t(), ones_h, down, down, steps),
            ]
        x = layer(x)
    return found


def _pbits(
    name: str,
    weight: Tensor,
    heard: Tensor,
    sums: Sequence[int],
    reads: Sequence[int],
    steps: int,
    *,
    learns: bool = False,
) -> LayerEvents:
    """Args: heard: what is read, [B, I], or how many of it are not 0, [B]; sums, reads: in which
    steps fields are summed, evenly, and p-bits are read."""
    heard = (heard != 0).sum(1) if heard.dim() == 2 else heard
    arriving, active = (np.zeros((len(heard), steps)) for _ in range(2))
    arriving[:, sums] = np.asarray(heard)[:, None] / len(sums)
    active[:, reads] = len(weight)
    return LayerEvents(
        name=name,
        neurons=len(weight),
        weights=weight.numel(),
        arriving=arriving,
        events=len(weight) * arriving,
        active=active,
        fired=np.zeros_like(arriving),
        learnt=np.full(len(heard), float(learns * weight.numel())),
    )


# ---- both


def _joined(batches: list[list[LayerEvents]]) -> list[LayerEvents]:
    """Of all records, layer by layer."""
    counts = ("arriving", "events", "active", "fired", "learnt")
    return [
        replace(
            same[0],
            **{name: np.concatenate([getattr(layer, name) for layer in same]) for name in counts},
        )
        for same in zip(*batches, strict=True)
    ]
