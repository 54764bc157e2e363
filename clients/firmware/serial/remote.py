"""What is asked of a board over a line: one request at a time, each answered once."""

import secrets
import struct
import time
from enum import IntEnum
from itertools import count

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.serial.chain import RECORD
from clients.firmware.serial.frames import MOST, VERSION, Decoder, Frame, encode
from clients.firmware.serial.lines import Line
from privacy.errors import BudgetExhausted, LedgerError, PrivetError

ANSWER = 0x80
TRIES, PATIENCE_S, STEP_S = 4, 5.0, 600.0
WORDS = (MOST - 4) // 4  # weights in a frame, beside a place or a status
RECORDS = (MOST - 4) // RECORD


class Ask(IntEnum):
    """Types of serial.h."""

    HELLO = 1
    BEGIN = 2
    OPEN = 3
    WRITE = 4
    STEP = 5
    READ = 6
    LEDGER = 7


class Status(IntEnum):
    """Of ledger.h."""

    OK = 0
    SPENT = 1
    DAMAGED = 2
    NOT_OPEN = 3
    USED = 4
    FLOATS = 5
    REQUEST = 6


TOLD: dict[int, tuple[type[PrivetError], str]] = {
    Status.SPENT: (BudgetExhausted, "the steps that its contract allows are spent"),
    Status.DAMAGED: (LedgerError, "its ledger was cut short, put back, or overwritten"),
    Status.NOT_OPEN: (LedgerError, "its ledger was never begun"),
    Status.USED: (LedgerError, "its ledger is not erased, and was never begun"),
    Status.FLOATS: (PrivetError, "its floats are not those that were audited: see its README"),
    Status.REQUEST: (PrivetError, "it does not know the request: export and flash it again"),
}


class RemoteBoard:
    """A board at the other end of a line.

    Args:
        contract: that it must have.

    Raises:
        PrivetError: nobody answers, or it is a board of another contract.
    """

    def __init__(self, line: Line, contract: Contract) -> None:
        self._line, self._contract = line, contract
        self._decoder = Decoder()
        self._numbers = (n & 0xFFFF for n in count(secrets.randbelow(1 << 16)))
        if (found := self._ask(Ask.HELLO)) != contract.id:
            theirs, ours = found.hex()[:16], contract.id.hex()[:16]
            raise PrivetError(
                f"the board has contract {theirs}, and --firmware {ours}: flash it with that "
                "export, or name the one that it has"
            )

    def open(self, at_least: int) -> None:
        """Open the ledger, and begin it if none of its steps can be known.

        Raises:
            LedgerError: it has fewer steps than `at_least`, or is damaged.
        """
        asked = struct.pack("<I", at_least)
        status, _ = self._answer(Ask.OPEN, asked)
        if status == Status.NOT_OPEN and not at_least:
            self._ask(Ask.BEGIN)
            status, _ = self._answer(Ask.OPEN, asked)
        _require(status)

    def ledger(self) -> tuple[bytes, bytes]:
        """Both areas."""
        total = self._contract.most_steps + 1

        def area(which: int) -> bytes:
            parts = []
            for at in range(0, total, RECORDS):
                num = min(RECORDS, total - at)
                parts.append(self._part(Ask.LEDGER, RECORD * num, which, at, num))
            return b"".join(parts)

        return area(0), area(1)

    def write(self, weights: NDArray[np.uint32]) -> None:
        """All weights, bit by bit."""
        for at in range(0, len(weights), WORDS):
            part = weights[at : at + WORDS].astype("<u4").tobytes()
            self._ask(Ask.WRITE, struct.pack("<I", at) + part)

    def step(self) -> None:
        """One private step.

        Raises:
            BudgetExhausted: the limit of the board's contract is reached.
        """
        self._ask(Ask.STEP)

    def read(self) -> NDArray[np.uint32]:
        """All weights, bit by bit."""
        total = self._contract.num_weights
        parts = []
        for at in range(0, total, WORDS):
            num = min(WORDS, total - at)
            parts.append(self._part(Ask.READ, 4 * num, at, num))
        return np.frombuffer(b"".join(parts), "<u4").astype(np.uint32)

    def _part(self, what: Ask, size: int, *numbers: int) -> bytes:
        found = self._ask(what, struct.pack(f"<{len(numbers)}I", *numbers))
        if len(found) != size:
            raise PrivetError(f"the board's answer to {what.name} has {len(found)} bytes of {size}")
        return found

    def _ask(self, what: Ask, content: bytes = b"") -> bytes:
        status, found = self._answer(what, content)
        _require(status)
        return found

    def _answer(self, what: Ask, content: bytes = b"") -> tuple[int, bytes]:
        """Status and what follows it. Without an answer in time the same request is sent again,
        under its number: a board does nothing twice for it."""
        number = next(self._numbers)
        for _ in range(TRIES):
            self._line.write(encode(Frame(what, number, content)))
            if (found := self._awaited(what, number)) is None:
                continue
            if found.version != VERSION:
                raise PrivetError(
                    f"the board speaks version {found.version} of the protocol, and this privet "
                    f"{VERSION}: export and flash it again"
                )
            if len(found.content) < 4:
                break
            return struct.unpack_from("<I", found.content)[0], found.content[4:]
        raise PrivetError(
            f"the board does not answer {what.name}: is it flashed with main_serial.c, and is this "
            "its port?"
        )

    def _awaited(self, what: Ask, number: int) -> Frame | None:
        until = time.monotonic() + (STEP_S if what == Ask.STEP else PATIENCE_S)
        while (left := until - time.monotonic()) > 0:
            data = self._line.read(left)
            if not data:
                return None
            for frame in self._decoder.feed(data):
                if (frame.type, frame.number) == (what | ANSWER, number):
                    return frame
        return None


def _require(status: int) -> None:
    if status:
        kind, why = TOLD.get(status, (PrivetError, f"status {status}"))
        raise kind(f"the board refuses: {why}")
