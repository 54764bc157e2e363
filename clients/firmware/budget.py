"""What a private step takes on a board, phase by phase and layer by layer."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from clients.firmware.compiling import build
from clients.firmware.contract import Contract
from clients.firmware.counting import Tallies, Tally, Where, together
from clients.firmware.emulator import KEY, Board
from clients.firmware.net import Records
from privacy.errors import PrivetError

FEW = 4  # records of a batch that is only counted
# Cycles, least and most. M4: of what ARM's table gives of the instructions that were executed, of
# which published programs were 4 to 8 % above. M7: of an instruction, for ARM tells no table; at
# best two at a time, in the mixes of a perceptron, at worst one.
OF_TABLE_M4, OF_INSTRUCTION_M7 = (1.0, 1.1), (0.57, 1.0)


@dataclass(frozen=True)
class Part:
    """Of a counted step: a phase, or a layer in it.

    Attributes:
        layer: its place; -1 is what is of none.
        mix: instructions by class. `cycles`: least and most.
    """

    phase: str
    layer: int
    mix: dict[str, int]
    cycles: tuple[int, int]

    def times(self, factor: float) -> "Part":
        """So many of it."""
        if factor == 1:
            return self
        mix = {kind: round(factor * num) for kind, num in self.mix.items()}
        least, most = self.cycles
        return replace(self, mix=mix, cycles=(round(factor * least), round(factor * most)))


def drawn_from(contract: Contract, records: Records, batch: int = FEW) -> int:
    """Of so many records `count` has a batch drawn."""
    return min(len(records[1]), math.ceil(batch / (contract.sample_rate / 2**32)))


def count(
    sources: dict[str, str], contract: Contract, records: Records, target: str, batch: int = FEW
) -> tuple[int, tuple[Part, ...]]:
    """A step of some records in the emulator: how many they were, and what each part took.

    Args:
        sources: as `clients.firmware.sources` made them.
        records: of which a batch is drawn.
        batch: as many as are expected, if there are so many.

    Raises:
        PrivetError: the step drew no record, or the compiler refuses.
    """
    num = drawn_from(contract, records, batch)
    some = records[0][:num], records[1][:num]
    with TemporaryDirectory(prefix="privet-firmware-") as scratch:
        folder = Path(scratch)
        for name, text in sources.items():
            (folder / name).write_text(text)
        program = build(folder, target)
        board = started(program, target, contract, some, counted=True)
        for _ in range(contract.most_steps):
            board.counted()
            must(board.call("privet_step", len(some[1])), "privet_step")
            if board.reads:
                return board.reads, parts_of(target, board.counted())
    raise PrivetError("no step of the board drew a record: nothing to count")


def started(
    program: Path, target: str, contract: Contract, records: Records, counted: bool = False
) -> Board:
    """A new board, its ledger begun and open, and nothing counted yet."""
    board = Board(program, target, contract, KEY, records, counted=counted)
    must(board.call("privet_begin"), "privet_begin")
    must(board.call("privet_open", 0), "privet_open")
    board.counted()
    return board


def must(status: int, name: str) -> None:
    """Raises PrivetError: a call did not end well."""
    if status:
        raise PrivetError(f"{name} in the emulator: status {status}, see ledger.h")


def cycles_of(target: str, tally: Tally) -> tuple[int, int]:
    """Least and most, on a target."""
    most, of = (tally.cycles_m4, OF_TABLE_M4)
    if target == "m7":
        most, of = (tally.instructions, OF_INSTRUCTION_M7)
    return round(most * of[0]), round(most * of[1])


def parts_of(target: str, tallies: Tallies) -> tuple[Part, ...]:
    """In the order of their places."""
    by_place: dict[Where, list[Tally]] = {}
    for (_, where), tally in tallies.items():
        by_place.setdefault(where, []).append(tally)
    found = []
    for where, some in sorted(by_place.items(), key=lambda one: one[0].layer):
        total = together(some)
        found.append(Part(where.phase, where.layer, dict(total.kinds), cycles_of(target, total)))
    return tuple(found)
