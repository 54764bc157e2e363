"""A board in the emulator that stands on a serial port, and whose flash is a file."""

import mmap
import os
import secrets
from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.emulator import BACK, Board
from clients.firmware.net import Records
from privacy.errors import PrivetError

TARGET = "m7"


class SerialBoard(Board):
    """A board whose program is `serial_serve`: it runs while it has something to do.

    Args:
        program: ELF, built with `serial`.
    """

    def __init__(
        self,
        program: Path,
        contract: Contract,
        key: NDArray[np.uint32],
        records: Records,
        flash: "list[bytearray] | list[memoryview] | None" = None,
    ) -> None:
        super().__init__(program, TARGET, contract, key, records, flash)
        self._inbox, self._outbox = deque[int](), bytearray()
        self._ports[self._at("port_read")] = self._read
        self._ports[self._at("port_write")] = self._write
        self._prepare(len(records[1]))
        self._place = self._at("serial_serve")

    def exchange(self, data: bytes) -> bytes:
        """What the board sends when it is sent `data`: it runs until it wants more.

        Raises:
            PrivetError: the program ran into what is no memory of its own, or ended.
        """
        self._inbox.extend(data)
        self._run(self._place)
        self._place = self._mu.reg_read(self._arm.UC_ARM_REG_PC) & ~1
        if self._place == BACK:
            raise PrivetError("the emulated board's program has ended")
        sent = bytes(self._outbox)
        self._outbox.clear()
        return sent

    def _read(self, _: list[int]) -> int:
        if not self._inbox:
            self._mu.emu_stop()
            return -1
        return self._inbox.popleft()

    def _write(self, r: list[int]) -> int:
        self._outbox.append(r[0] & 0xFF)
        return 0


def fresh_key() -> NDArray[np.uint32]:
    """What a chip's random generator gives: uint32 [8], of the operating system's."""
    return np.frombuffer(secrets.token_bytes(32), "<u4")


def flash_in(path: Path, contract: Contract) -> list[memoryview]:
    """The two areas of a board's ledger, in a file that is made erased.

    Raises:
        PrivetError: the file is another contract's, or cannot be written.
    """
    size = 2 * contract.ledger_bytes
    try:
        with path.open("ab") as made:
            if not made.tell():
                made.write(b"\xff" * size)
                made.flush()
                os.fsync(made.fileno())
            if made.tell() != size:
                raise PrivetError(
                    f"{path}: {made.tell()} bytes of flash; this contract's ledger has {size}; a "
                    "board of another contract has left it: name another --ledger"
                )
        with path.open("r+b") as file:
            held = memoryview(mmap.mmap(file.fileno(), size))
    except OSError as error:
        raise PrivetError(f"{path}: cannot be written: {error.strerror}") from None
    return [held[: contract.ledger_bytes], held[contract.ledger_bytes :]]
