"""Files that clients fill: a folder of the service's own, measured, and the keys in it."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from privacy.errors import ServiceError, WireError
from server.inference.gate.refusal import Refusal

MEMORY = Path("/dev/shm")
LOCK = ".lock"


def roomiest(wanted_bytes: int) -> Path:
    """Memory if there is so much room in it, else whichever of memory and disk has more."""
    disk = Path(tempfile.gettempdir())
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK | os.X_OK):
        return disk
    free_bytes = shutil.disk_usage(MEMORY).free
    return MEMORY if free_bytes >= min(wanted_bytes, shutil.disk_usage(disk).free) else disk


@contextmanager
def scratch(prefix: str, place: Path) -> Iterator[Path]:
    """A folder for as long as the block lasts; what processes that were killed left goes first.

    A folder is alive as long as its lock is held, which the system lets go when its process ends,
    however that happens.

    Raises:
        ServiceError: there is no room for it, or no right.
    """
    _sweep(prefix, place)
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=place))
        lock = os.open(made / LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = made.rename(made.with_name(made.name[1:]))  # seen by others once it is locked
    except OSError as error:
        raise ServiceError(f"{place}: cannot be written: {error.strerror}; set TMPDIR") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(prefix: str, place: Path) -> None:
    """Remove folders of this user whose process has gone."""
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError):
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


class Room:
    """How much more a folder can take."""

    def __init__(self, folder: Path, kept_free_bytes: int) -> None:
        """Args:
        kept_free_bytes: never filled; where the whole place is small, an eighth of it.
        """
        self.folder = folder
        self._kept_bytes = min(kept_free_bytes, shutil.disk_usage(folder).total // 8)

    @property
    def bytes(self) -> int:
        """Free now, less what is kept."""
        return max(0, shutil.disk_usage(self.folder).free - self._kept_bytes)

    def require(self, size_bytes: int) -> None:
        """Raise Refusal (507) if so much does not fit."""
        if size_bytes > self.bytes:
            raise Refusal(f"no room for {size_bytes} bytes now; try again later", 507, 5)


def shares(room: Room, keys_bytes: int, requests_bytes: int) -> tuple[int, int]:
    """Of stored keys and of requests under way: what is allowed, and has room beside the other."""
    for_requests = room.bytes // 4
    return min(keys_bytes, room.bytes - for_requests), min(requests_bytes, for_requests)


class KeyStore:
    """Evaluation keys in files named after their content.

    Where they are too many, the owner of most gives way, with what it has used least lately: by
    storing much nobody loses anything but his own.
    """

    def __init__(self, folder: Path, most_bytes: int, room: Room) -> None:
        folder.mkdir(mode=0o700)
        self.folder, self._most_bytes, self._room = folder, most_bytes, room
        self._kept: OrderedDict[bytes, tuple[str, int]] = OrderedDict()  # owner, bytes

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(size for _, size in self._kept.values())

    def touch(self, identity: bytes) -> None:
        """Note a use.

        Raises:
            WireError: 404, the keys are not here.
        """
        if identity not in self._kept:
            raise WireError("no such evaluation keys here, or no longer; upload them", 404)
        self._kept.move_to_end(identity)

    def require_fitting(self, size_bytes: int) -> None:
        """Refuse keys for which no room could be made.

        Raises:
            Refusal: 507.
        """
        if size_bytes > min(self._most_bytes, self._room.bytes + self.size_bytes):
            raise Refusal(f"keys of {size_bytes} bytes; there is no room for them here", 507, 5)

    def add(self, identity: bytes, arrived: Path, owner: str) -> None:
        """Keep keys that have arrived in a file of the same folder's; others give way.

        Raises:
            Refusal: 507, there is no room.
        """
        size_bytes = arrived.stat().st_size
        self.require_fitting(size_bytes)
        self.forget(identity)
        # what has arrived already takes its room
        while self._kept and (
            self.size_bytes + size_bytes > self._most_bytes or not self._room.bytes
        ):
            held: Counter[str] = Counter()
            for holder, size in self._kept.values():
                held[holder] += size
            held[owner] += size_bytes
            ((most, _),) = held.most_common(1)
            mine = [name for name, (holder, _) in self._kept.items() if holder == most]
            self.forget(mine[0] if mine else next(iter(self._kept)))
        arrived.rename(self.folder / identity.hex())
        self._kept[identity] = (owner, size_bytes)

    def forget(self, identity: bytes) -> None:
        """Remove keys, if they are here."""
        if self._kept.pop(identity, None) is not None:
            (self.folder / identity.hex()).unlink(missing_ok=True)
