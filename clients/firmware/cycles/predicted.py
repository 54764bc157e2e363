"""What a private step takes on a board, predicted: trips of each loop, times what a trip takes."""

import json
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from clients.firmware.budget import OF_INSTRUCTION_M7, OF_TABLE_M4, Part
from clients.firmware.cycles.trips import Counts, Kernels, trips
from clients.firmware.plan import ADD, MEAN, MOST, NORM

TABLE = Path(__file__).with_name("table.json")
ALIKE = ("ledger", "sample")
ALIKE_IN_LAYERS = (
    *(f"{way} {kind}" for way in ("forward", "backward") for kind in (NORM, MOST, MEAN, ADD)),
    "forward record",
    "backward record",
)
Table = dict[str, dict[str, dict[str, dict[str, float]]]]  # core, net and kind, kernel, loop


@lru_cache(maxsize=1)
def table() -> Table:
    """As `clients.firmware.cycles.measure` made it."""
    found: Table = json.loads(TABLE.read_text())
    return found


def name_of(net: Kernels, kernel: str) -> str:
    """Of a kernel's net in the table: some are the same C in many."""
    if kernel in ALIKE:
        return "any"
    if net.plan is None:
        return f"perceptron of {'words' if net.numbers else 'floats'}"
    if kernel in ALIKE_IN_LAYERS:
        return "layers"
    return f"layers of {'words' if net.numbers else 'floats'}"


def errors(core: str) -> tuple[float, float]:
    """Of a layer's part, on other nets than it was measured on: typical, and the worst."""
    found = table()[core]["error"]["of a layer"]
    return found["typical"], found["worst"]


def predict(net: Kernels, core: str, records: int, drawn_from: int) -> tuple[Part, ...]:
    """As `clients.firmware.budget.count` gives it, but for the mix of instructions.

    Args:
        records: of the step. `drawn_from`: records that it draws them from.
    """
    nets = table()[core]
    least, most = OF_TABLE_M4 if core == "m4" else OF_INSTRUCTION_M7
    took: dict[tuple[str, int], float] = defaultdict(float)
    for one in trips(net, records, drawn_from):
        each = nets.get(name_of(net, one.kernel), {}).get(one.kernel, {})
        took[one.phase, one.layer] += taken(each, one.counts) * (1 if one.once else records)
    return tuple(
        Part(phase, layer, {}, (round(total * least), round(total * most)))
        for (phase, layer), total in took.items()
        if total
    )


def taken(each: dict[str, float], counts: Counts) -> float:
    """By so many trips of each loop."""
    return sum(each.get(name, 0.0) * num for name, num in counts.items())
