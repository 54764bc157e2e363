"""Files that are whole or not there, and folders that one process writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from privacy.errors import RunError


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete and on disk.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for writing, until the block or the process ends.

    Args:
        what: it is, for the error: a run.

    Raises:
        RunError: another process holds it, or it cannot be written to.
    """
    try:
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise RunError(f"{folder}: another process is writing this {what}") from None
    except PermissionError:
        raise RunError(f"{folder}: cannot be written: permission denied") from None
