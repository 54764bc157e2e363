"""What was executed: by function, phase and layer, by class of instruction, and cycles on an M4."""

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from clients.firmware.thumb import REFILL, cycles_m4, decoded

# Of a step, by the function where each begins.
PHASES = {
    "privet_step": "ledger", "stream_begin": "ledger", "sample": "sample", "forward": "forward",
    "backward": "backward", "clip": "clip", "accumulate_layer": "accumulate",
    "noise_update": "noise", "project": "project",
}  # fmt: skip


class Where(NamedTuple):
    """A phase of a step, and the place of the layer that is at work; -1 is none."""

    phase: str
    layer: int = -1


NOWHERE = Where("")


class Block(NamedTuple):
    """Instructions without a branch between them."""

    address: int
    size: int
    where: Where


@dataclass
class Tally:
    """Of some code: how often each class of instruction was executed; cycles on a Cortex-M4."""

    kinds: Counter[str] = field(default_factory=Counter)
    cycles_m4: int = 0

    @property
    def instructions(self) -> int:
        """All of them."""
        return self.kinds.total()


Tallies = dict[tuple[str, Where], Tally]  # by function


def tallied(
    blocks: Mapping[Block, int],
    taken: Mapping[Block, int],
    functions: Mapping[int, str],
    read: Callable[[int, int], bytearray],
) -> Tallies:
    """Blocks, by the function that they are of.

    Args:
        blocks: how often each was executed. `taken`: and how often it ended in a jump.
        functions: names by address. `read`: memory, of an address and size.
    """
    starts = sorted(functions)
    found: Tallies = {}
    for block, times in blocks.items():
        name = functions[starts[bisect(starts, block.address) - 1]]
        tally = found.setdefault((name, block.where), Tally())
        inside = list(decoded(bytes(read(block.address, block.size))))
        for kind, num in Counter(one.kind for one in inside).items():
            tally.kinds[kind] += num * times
        tally.cycles_m4 += cycles_m4(inside) * times + REFILL * taken.get(block, 0)
    return found


def together(tallies: Iterable[Tally]) -> Tally:
    """Their sum."""
    total = Tally()
    for one in tallies:
        total.kinds.update(one.kinds)
        total.cycles_m4 += one.cycles_m4
    return total
