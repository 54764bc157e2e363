"""A board that only answers: is it the simulation, and what does it take?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.firmware.budget import cycles_of
from clients.firmware.compiling import TARGETS, build
from clients.firmware.contract import Contract
from clients.firmware.counting import together
from clients.firmware.emulator import KEY, Board
from clients.firmware.net import Dense
from clients.firmware.numbers.device import device_of


@dataclass(frozen=True)
class Answered:
    """On one target.

    Attributes:
        answers: records that board and simulation class alike, of `asked`; `own`: and the run
            itself.
        ram_bytes: static and the deepest stack. `flash_bytes`: code, tables and weights.
        cycles: of the first record, least and most.
    """

    target: str
    asked: int
    answers: int
    own: int
    ram_bytes: int
    flash_bytes: int
    cycles: tuple[int, int]

    @property
    def passed(self) -> bool:
        """Did all agree?"""
        return self.answers == self.asked

    def as_dict(self) -> dict[str, Any]:
        """For answers.json."""
        return {**asdict(self), "passed": self.passed}


def check_answers(
    sources: dict[str, str],
    contract: Contract,
    layers: tuple[Dense, ...],
    asked: NDArray[np.int16],
    own: NDArray[np.int64],
    library: Path | None = None,
) -> list[Answered]:
    """Compile for each target, and compare with the simulation.

    Args:
        sources: as `clients.firmware.sources` made them, of answers.
        asked: inputs [N, inputs]; `own`: the classes that the run itself gives them.
        library: of kernels, if they were made for it.
    """
    nobody = (asked[:0], np.zeros(0, np.uint8))
    expected, found = device_of(contract, layers, KEY, nobody).predict(asked), []
    for target in TARGETS:
        with TemporaryDirectory(prefix="privet-firmware-") as scratch:
            folder = Path(scratch)
            for name, text in sources.items():
                (folder / name).write_text(text)
            program = build(folder, target, answers=True, library=library)
            board = Board(program, target, contract, KEY, nobody)
            counted = Board(program, target, contract, KEY, nobody, counted=True)
        cycles = (0, 0)
        if len(asked):
            counted.predict(asked[0])
            cycles = cycles_of(target, together(counted.counted().values()))
        said = np.array([board.predict(x) for x in asked], np.int64)
        right, like_run = (int((said == other).sum()) for other in (expected, own))
        ram = board.static_bytes + board.stack_bytes
        found.append(Answered(target, len(asked), right, like_run, ram, board.flash_bytes, cycles))
    return found
