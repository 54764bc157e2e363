"""The line to a board: bytes out, bytes in, and how long to wait for them."""

import fcntl
import os
import select
import termios
import tty
from pathlib import Path
from typing import Protocol

from clients.firmware.serial.emulated import SerialBoard
from privacy.errors import PrivetError

MOST_READ = 4096


class Line(Protocol):
    """To one board."""

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def read(self, timeout_s: float) -> bytes:
        """What has come; nothing if nothing came in time."""

    def close(self) -> None:
        """Let others have it."""


class EmulatedLine:
    """To a board in this process, which has the time that it needs."""

    def __init__(self, board: SerialBoard) -> None:
        self._board = board
        self._sent = b""

    def write(self, data: bytes) -> None:
        """Let the board run until it wants more."""
        self._sent += self._board.exchange(data)

    def read(self, timeout_s: float) -> bytes:
        """What the board said."""
        said, self._sent = self._sent, b""
        return said

    def close(self) -> None:
        """Nothing is to be done."""


class DeviceLine:
    """To a device file: a USB port, a UART, a pseudo-terminal. Raw, 8N1, 115,200 bits a second.

    Raises:
        PrivetError: there is none, it may not be opened, or is no serial port; another process has
            it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise PrivetError(f"--board {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tty.setraw(self._file)
            held = termios.tcgetattr(self._file)
            held[2] |= termios.CLOCAL | termios.CREAD
            held[4] = held[5] = termios.B115200
            termios.tcsetattr(self._file, termios.TCSANOW, held)
            termios.tcflush(self._file, termios.TCIOFLUSH)
        except (OSError, termios.error) as error:
            os.close(self._file)
            why = "another process has it" if isinstance(error, BlockingIOError) else error.args[-1]
            raise PrivetError(f"--board {path}: {why}") from None

    def write(self, data: bytes) -> None:
        """Send all of it."""
        try:
            while data:
                select.select([], [self._file], [])
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise PrivetError(f"--board {self._path}: {error.strerror}") from None

    def read(self, timeout_s: float) -> bytes:
        """What has come."""
        if not select.select([self._file], [], [], timeout_s)[0]:
            return b""
        try:
            found = os.read(self._file, MOST_READ)
        except OSError as error:
            raise PrivetError(f"--board {self._path}: {error.strerror}") from None
        if not found:
            raise PrivetError(f"--board {self._path}: is gone")
        return found

    def close(self) -> None:
        """Let others have it."""
        os.close(self._file)
