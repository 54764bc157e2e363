"""A board in the place of the local loop: weights go down, an update and the ledger come up.

A board has a ledger of its own, in flash, and the node has its journal. Each must know of the steps
of the other: a board with fewer than have left was put back, one with more than were charged has
worked elsewhere; on either nothing is computed.
"""

import fcntl
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.boards.flashed import read_contract
from clients.boards.jobs import flat_of, put_flat, require_made_for, scale_of, whole
from clients.firmware.contract import Contract
from clients.firmware.numbers.device import raw_of, reals_of
from clients.firmware.serial.chain import read_chain, require_known, require_longer
from clients.firmware.serial.emulated import SerialBoard, flash_in, fresh_key
from clients.firmware.serial.lines import DeviceLine, EmulatedLine, Line
from clients.firmware.serial.remote import RemoteBoard
from clients.protocol import Form
from clients.training.job import Job
from clients.training.net import Net
from clients.training.records import Records
from clients.training.train import Round
from privacy.dp.journal import Journal
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import BudgetExhausted, DataError
from privacy.files import write_atomically

EMULATED = "emulated"


@dataclass(frozen=True)
class Board:
    """What an owner says of a board.

    Attributes:
        port: of the board: a device file, or EMULATED.
        program: of an emulated one.
        ledger: the node's journal, beside which lie what the board's ledger was when it last left
            (`.board`), and an emulated board's flash (`.flash`).
    """

    port: str
    contract: Contract
    program: Path | None
    ledger: Path

    @classmethod
    def of(cls, port: str, firmware: Path, program: Path | None, ledger: Path) -> "Board":
        """The board of an export.

        Raises:
            SettingsError: `firmware` is no folder of one.
        """
        return cls(port, read_contract(firmware), program, ledger)

    @property
    def mark(self) -> str:
        """By which the journal tells its steps."""
        return f"steps of a board of contract {self.contract.id.hex()[:16]}"

    def cost(self, job: Job) -> Spent:
        """Of a round of a job, its noise as far off as the board's is."""
        contract, steps = self.contract, job.training.local_steps
        off = steps * contract.divergence
        return Spent(contract.noise_multiplier, job.training.sample_rate, steps, off)

    def most_epsilon(self, delta: float) -> float:
        """What the contract's noise leaves nothing of delta for: (1 + exp(e)) distance = delta."""
        return math.log(max(delta / self.contract.distance - 1, 1.0))

    def require(self, job: Job, round_: Round, net: Net, form: Form, records: Records) -> None:
        """Refuse a job that the board was not made for, before anything is asked of it.

        Raises:
            DataError, ModelError, SettingsError: what differs.
        """
        require_made_for(self.contract, job, round_.learning_rate, round_.proximal, net, form)
        if scale_of(records, self.contract.plan is not None) != self.contract.scale:
            raise DataError(
                f"the board reads inputs in units of 1 / {self.contract.scale}, and these records' "
                "are others; export from a run on records of the same kind"
            )

    @contextmanager
    def training(
        self, journal: Journal, records: Records, net: Net, job: Job
    ) -> Iterator[Callable[[Ledger], None]]:
        """The board, opened when nobody else has it, and ready for a round; what takes its
        steps leaves in the net what left the board.

        Args:
            records: the device's own, which an emulated board has.

        Raises:
            BudgetExhausted: its contract does not allow them.
            LedgerError: the journal or the board does not know of the other's steps.
            PrivetError: no board answers, or another.
        """
        with self._path(".turn-board").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            line = self._line(records)
            steps = job.training.local_steps
            try:
                met = Met(self, RemoteBoard(line, self.contract), *known(journal.lines, self.mark))
                met.require_left(steps)
                yield lambda _: met.train(net, steps)
            finally:
                line.close()

    def _line(self, records: Records) -> Line:
        if self.program is None:
            return DeviceLine(Path(self.port))
        inputs = whole(records, np.arange(len(records)), self.contract.scale)
        held = (inputs, records.y.numpy().astype(np.uint8))
        flash = flash_in(self._path(".flash"), self.contract)
        return EmulatedLine(SerialBoard(self.program, self.contract, fresh_key(), held, flash))

    def _path(self, ending: str) -> Path:
        return self.ledger.with_name(self.ledger.name + ending)

    @property
    def exported(self) -> Path:
        """The board's ledger as it last left."""
        return self._path(".board")


class Met:
    """A board that was met: opened, and its ledger found to go on where it was.

    Args:
        least, most: as `known` finds them.
    """

    def __init__(self, board: Board, remote: RemoteBoard, least: int, most: int) -> None:
        self._board, self._remote = board, remote
        remote.open(least)
        self._steps = self._checked(least, most)

    def require_left(self, steps: int) -> None:
        """Raises BudgetExhausted: the contract allows fewer than `steps` more."""
        allowed = self._board.contract.most_steps
        if self._steps + steps > allowed:
            raise BudgetExhausted(
                f"this device's board has taken {self._steps} of the {allowed} steps of its "
                f"contract; {steps} more are asked for"
            )

    def train(self, net: Net, steps: int) -> None:
        """Take steps from the net's weights; the net then has what left the board.

        Raises:
            LedgerError: the board did not spend a number of its own for each step.
        """
        contract = self._board.contract
        self._remote.write(raw_of(contract, flat_of(net)))
        for _ in range(steps):
            self._remote.step()
        done = self._steps + steps
        self._steps = self._checked(done, done)
        put_flat(net, reals_of(contract, self._remote.read()))

    def _checked(self, least: int, most: int) -> int:
        areas = self._remote.ledger()
        told = read_chain(self._board.contract, areas)
        require_known(told, least, most)
        if (exported := self._board.exported).exists():
            require_longer(exported.read_bytes(), areas[0])
        with write_atomically(exported) as file:
            file.write(areas[0])
        return told.steps


def known(lines: Sequence[dict[str, Any]], mark: str) -> tuple[int, int]:
    """Of a journal's lines: how many of a board's steps have left at least, and how many were
    charged."""
    charges = [e for e in lines if e["kind"] == "charge" and mark in e.get("of", "")]
    steps = {(e["run"], e["request"]): e["cost"][2] for e in charges}
    left = [e for e in lines if e["kind"] == "release"]
    return (
        sum(steps.get((e["run"], e["request"]), 0) for e in left),
        sum(e["cost"][2] for e in charges),
    )
