"""Is the C of a front its definition, and how far is that from what the run itself read?"""

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
from clients.firmware.front.made import Front, whole_features

NEAR = 2.0**-9  # that a feature may be off, beside the halves of both roundings: see `allowed`


@dataclass(frozen=True)
class Turned:
    """On one target.

    Attributes:
        equal: records whose features have the bits of the definition, of `asked`.
        far: the largest distance of a feature from the run's own; `beyond`: features that are
            farther than `allowed`.
        instructions, cycles: of the first record.
    """

    target: str
    asked: int
    equal: int
    far: float
    beyond: int
    instructions: int
    cycles: tuple[int, int]

    @property
    def passed(self) -> bool:
        """Did all agree?"""
        return self.equal == self.asked and not self.beyond

    def as_dict(self) -> dict[str, Any]:
        """For answers.json and budget.json."""
        return {**asdict(self), "passed": self.passed}


def allowed(own: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """How far a feature may be from the run's own [...]: half a unit here, half a unit of float16
    there, and NEAR."""
    far: NDArray[np.float64] = 0.5 / scale + np.abs(own) * 2.0**-11 + NEAR
    return far


def check_front(
    sources: dict[str, str],
    contract: Contract,
    front: Front,
    raw: NDArray[np.generic],
    own: NDArray[np.float16],
    targets: tuple[str, ...] = tuple(TARGETS),
    counted: bool = True,
) -> list[Turned]:
    """Compile for each target, and compare.

    Args:
        sources: of answers, as `clients.firmware.sources` made them, or sabotaged.
        raw: records [N, ...]; `own`: what the run reads of them [N, features].
        counted: count the instructions of the first.
    """
    nobody = (np.zeros((0, contract.sizes[0]), np.int16), np.zeros(0, np.uint8))
    expected, found = whole_features(front, raw, contract.scale), []
    truth = own.reshape(len(own), -1).astype(np.float64)
    for target in targets:
        with TemporaryDirectory(prefix="privet-firmware-") as scratch:
            folder = Path(scratch)
            for name, text in sources.items():
                (folder / name).write_text(text)
            program = build(folder, target, answers=True)
            board = Board(program, target, contract, KEY, nobody)
            other = Board(program, target, contract, KEY, nobody, counted=True)
        made = np.stack([board.turn(x.astype(front.raw_type)) for x in raw])
        if counted:  # which takes as long as tens of records
            other.turn(raw[0].astype(front.raw_type))
        tally = together(other.counted().values())
        distance = np.abs(made / contract.scale - truth)
        found.append(
            Turned(
                target,
                len(raw),
                int((made == expected).all(1).sum()),
                float(distance.max()),
                int((distance > allowed(truth, contract.scale)).sum()),
                tally.instructions,
                cycles_of(target, tally),
            )
        )
    return found
