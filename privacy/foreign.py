"""Files that others made: a regular file of no more than it may be, or an error at once.

The one opener for what a user, a colleague or a stranger hands over. A pipe or a device is refused,
not waited for; a link is followed only where the path is the user's own word; a size is looked at
before a byte is read. Each refusal is an OSError whose `strerror` is a clause, so that a reader
says it in its own line and with its own exit status.
"""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

MOST_TEXT_BYTES = 16 << 20  # of settings, keys, tokens
MOST_DOCUMENT_BYTES = 256 << 20  # of JSON that a run keeps: parsed it takes about twenty times that
MOST_ARRAYS_BYTES = 2 << 30
SMALLEST_CHUNK = 1 << 20


class Stream(Protocol):
    """What can be read: a file, or what one unpacks to."""

    def read(self, size: int = ..., /) -> bytes:
        """So many bytes, or what is left."""


def open_foreign(path: Path, most_bytes: int, follow: bool = True) -> BinaryIO:
    """Open a file from outside for reading.

    Args:
        most_bytes: it may have.
        follow: a link in the last place of the path; not in a directory that came from elsewhere.

    Raises:
        OSError: not there, not a regular file, a link that is not followed, or too large.
    """
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, how)
    except ValueError:  # a zero byte in the name
        raise OSError(errno.EINVAL, "not the name of a file", str(path)) from None
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "a link, which is not followed", str(path)) from None
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, "not a regular file", str(path)) from None
        raise
    about = os.fstat(descriptor)
    try:
        if stat.S_ISDIR(about.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if about.st_size > most_bytes:
            told = f"{about.st_size} bytes, {most_bytes} are the most"
            raise OSError(errno.EFBIG, told, str(path))
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_foreign(path: Path, most_bytes: int, follow: bool = True) -> bytes:
    """The content of a file from outside.

    Raises:
        OSError: as `open_foreign`, or it grew past `most_bytes` while it was read.
    """
    with open_foreign(path, most_bytes, follow) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"more than {most_bytes} bytes", str(path))
    return content


def read_exactly(file: Stream, size_bytes: int) -> bytearray:
    """So many bytes of a stream and then its end, which may come compressed.

    Memory grows with what is there, not with what a header promises.

    Raises:
        ValueError: fewer, or more.
    """
    content = bytearray()
    while len(content) <= size_bytes:
        left = size_bytes + 1 - len(content)
        block = file.read(min(left, max(SMALLEST_CHUNK, len(content))))
        if not block:
            break
        content += block
    if len(content) != size_bytes:
        more = "more" if len(content) > size_bytes else f"{len(content)}"
        raise ValueError(f"{more} bytes follow, where {size_bytes} were promised")
    return content


def first_link(folder: Path) -> Path | None:
    """What in a folder, at any depth, is neither a folder nor a regular file: a link, a pipe.

    Raises:
        OSError: a part of it cannot be listed.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if (found := first_link(Path(entry.path))) is not None:
                    return found
            elif not entry.is_file(follow_symlinks=False):
                return Path(entry.path)
    return None


@contextmanager
def room_for(most_bytes: int) -> Iterator[None]:
    """For the while no more than so much beside what is held: who asks for more is told that there
    is none, before a byte of it is written. Where a kernel does not tell what is held, no bound.

    A few bytes of a stranger's may stand for any number of them.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])  # that are written to
    except OSError:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = pages * resource.getpagesize() + most_bytes
    bounds = [most, *(one for one in (before, hard) if one != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))
