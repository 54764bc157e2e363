"""Files that are whole or not there, and folders that one process writes."""

import errno
import fcntl
import os
import secrets
import stat
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from privacy.errors import RunError

DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{one}{i}" for one in ("COM", "LPT") for i in range(10))}
MOST_NAME_BYTES = 120  # a file system takes 255, and ours have times and endings besides


def cache_folder() -> Path:
    """`$PRIVET_DATA`, or a folder in the platform's cache: for what is fetched, and own keys."""
    if chosen := os.environ.get("PRIVET_DATA"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "privet"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "privet"


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete and on disk.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    if path.is_dir() or not path.name:
        raise RunError(f"{path}: cannot be written: it is a folder; name a file")
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:  # never into what lies there, nor through a link
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink()


def write_at(file: BinaryIO, content: memoryview, place: int) -> None:
    """Write all of `content` at a place of a file, in bytes; several threads may.

    Raises:
        OSError: it does not go there.
    """
    rest = content.cast("B")
    while rest:
        written = os.pwrite(file.fileno(), rest, place)
        rest, place = rest[written:], place + written


@contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for writing, until the block or the process ends.

    Args:
        what: it is, for the error: a run.

    Raises:
        RunError: another process holds it, or it cannot be written to.
    """
    try:
        with os.fdopen(open_own(folder / ".lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise RunError(f"{folder}: another process is writing this {what}") from None
    except PermissionError:
        raise RunError(f"{folder}: cannot be written: permission denied") from None
    except OSError as error:
        if error.filename is None:
            raise  # of the block
        raise RunError(f"{folder}: cannot be written: {error.strerror}") from None


def open_own(path: Path, how: int = 0, mode: int = 0o666) -> int:
    """The descriptor of a file of ours to write to, made if it is not there.

    Args:
        how: more flags of `os.open`: `os.O_APPEND`.

    Raises:
        OSError: it is a link, a pipe or a device that another has put in its place.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | how
    descriptor = os.open(path, flags, mode)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def require_name(what: str, name: str) -> None:
    """Refuse what cannot be the name of one folder on any machine.

    Args:
        what: it is, for the error: `--name`.

    Raises:
        RunError: it is empty, hidden, a path, not text, or too long.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        length = 0
    why = ""
    if not length or not name.isprintable() or name != name.strip():
        why = "of signs that can be seen, without spaces at its ends"
    elif name[0] in ".-" or any(sign in name for sign in '/\\:*?"<>|'):
        why = 'without / \\ : * ? " < > | and no dot or dash at its start'
    elif name[-1] == "." or name.partition(".")[0].rstrip().upper() in DEVICES:
        why = "without a dot at its end, and not what Windows calls a device"
    elif not unicodedata.is_normalized("NFC", name):
        why = "in the usual form of Unicode (NFC), or two names could look like one"
    elif length > MOST_NAME_BYTES:
        why = f"of no more than {MOST_NAME_BYTES} bytes, these are {length}"
    if why:
        told = ascii(name) if len(name) <= MOST_NAME_BYTES else f"{name[:20]!a}..."
        raise RunError(f"{what} {told}: must be one plain folder name, {why}")


def is_file(path: Path) -> bool:
    """Is it a file? Of a name that no file can have: no."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
