"""Layers on cores, one after another, and the way of spikes between them.

A layer takes the next free cores, as many as its neurons or its weights need. A spike is sent to
each core of the next layer by itself, along its row of tiles and then along its column, as on Loihi
(Davies et al. 2018); spikes of the input come in at the first tile.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import ceil
from typing import NamedTuple

from clients.chip.events.hardware import EventChip


class Places(NamedTuple):
    """Where a layer is.

    Attributes:
        first, after: its first core, and the first that is not its.
        hops_x, hops_y: of a spike that comes in, summed over its cores; a mean over those it may
            come from.
    """

    first: int
    after: int
    hops_x: float
    hops_y: float

    @property
    def cores(self) -> int:
        """How many it has."""
        return self.after - self.first


def place(chip: EventChip, sizes: Sequence[tuple[int, int]]) -> list[Places]:
    """Args: sizes: neurons and stored weights of each layer, in order."""
    of = chip.cores
    needs = [max(1, ceil(n / of.neurons), ceil(w / of.synapses)) for n, w in sizes]
    ends = [0, *accumulate(needs)]
    found = []
    before = range(1)
    for first, after in pairwise(ends):
        here = range(first, after)
        ways = [_way(chip, a, b) for a in before for b in here]
        x, y = (sum(way[axis] for way in ways) / len(before) for axis in (0, 1))
        found.append(Places(first, after, x, y))
        before = here
    return found


def _way(chip: EventChip, a: int, b: int) -> tuple[int, int]:
    """Tiles between two cores, along a row and along a column."""
    tiles = (a // chip.cores.in_tile, b // chip.cores.in_tile)
    (xa, ya), (xb, yb) = ((t % chip.cores.columns, t // chip.cores.columns) for t in tiles)
    return abs(xa - xb), abs(ya - yb)
