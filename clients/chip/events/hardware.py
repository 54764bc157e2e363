"""Event-driven chips: what an event costs on them, from `chips/*.toml`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from clients.chip.hardware import AmountOrNone, Constant, Count, chip_path
from privacy.settings import Section, parse, read_toml

READY = Path(__file__).parent / "chips"
DRIVEN = "event-driven"


class Cores(Section):
    """[cores]: of which the chip is made.

    Attributes:
        number: of them.
        neurons: that one core holds. `synapses`: whose weights it holds.
        in_tile: cores beside one router. `columns`: of the mesh of tiles; rows follow.
    """

    number: Count
    neurons: Count
    synapses: Count
    in_tile: Count = 1
    columns: Count = 1


class EventEnergy(Section):
    """[energy]: of one event.

    Attributes:
        synapse: a spike at one synapse. `learn`: a synapse's weight changed; absent where none can.
        neuron: a neuron updated in a step in which a spike reached it. `idle_neuron`: in another.
        fire: a spike made. `spike`: one delivered to one core.
        hop_x, hop_y: a spike passed on to the next tile, along a row or a column of the mesh.
    """

    synapse: Constant
    learn: Constant | None = None
    neuron: Constant
    idle_neuron: Constant
    fire: Constant
    spike: Constant
    hop_x: Constant
    hop_y: Constant


class EventTime(Section):
    """[time]: of the work of one core, one event after another; cores work side by side.

    Attributes:
        synapse_ns, neuron_ns, learn_ns: of one event.
        barrier_ns: until all cores begin the next step, on one tile. `tile_ns`: more, for each
            further tile.
        tick_ns: a step takes no less, however little there is to do.
        source: of these.
    """

    synapse_ns: AmountOrNone
    neuron_ns: AmountOrNone
    learn_ns: AmountOrNone = 0.0
    barrier_ns: AmountOrNone = 0.0
    tile_ns: AmountOrNone = 0.0
    tick_ns: AmountOrNone = 0.0
    source: str = Field(min_length=8)


class EventChip(Section):
    """A chip file.

    Attributes:
        title: one line.
        dataflow: `event-driven`.
        kind: of nets that it computes: neurons that fire, or p-bits.
        weight_bits: of a synapse.
        whole_w: watts of the whole chip at work; 0 where none is published.
        notes: what its constants leave out, or hold besides: told with each figure.
    """

    title: str = Field(min_length=1)
    dataflow: Literal["event-driven"]
    kind: Literal["spiking", "p-bits"]
    weight_bits: int = Field(ge=1, le=64)
    whole_w: AmountOrNone = 0.0
    notes: tuple[str, ...] = Field(default=(), strict=False)
    cores: Cores
    energy: EventEnergy
    time: EventTime


def is_event_chip(name: str) -> bool:
    """Is it a ready one by its name, or a file that says so? What is neither is not looked into."""
    if not name.endswith(".toml"):
        return name in ready_event_chips()
    return read_toml(chip_path(name)).get("dataflow") == DRIVEN


def load_event_chip(name: str) -> EventChip:
    """A chip by its name in `clients/chip/events/chips/`, or by the path of a TOML file.

    Raises:
        SettingsError: no such chip, or something wrong in its file: one line for each.
    """
    path = chip_path(name, READY)
    return parse(EventChip, read_toml(path), path.name)


def ready_event_chips() -> list[str]:
    """Names of the event-driven chips that come with privet."""
    return sorted(path.stem for path in READY.glob("*.toml"))
