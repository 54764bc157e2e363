"""Records that come in blocks: in memory while they are few, else in a file."""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from privacy.errors import DataError

MOST_IN_MEMORY_BYTES = 512 << 20
LARGE = Path("/var/tmp")  # on a disk, where /tmp may be in memory
AT_ONCE = 1 << 16


class Pile:
    """Blocks [n, ...] of one type, one after another.

    The file has no name, and is gone with the process; what is read of it is forgotten again when
    memory is short.
    """

    def __init__(self) -> None:
        self._blocks: list[NDArray] = []
        self._size_bytes = 0
        self._file: BinaryIO | None = None

    def add(self, block: NDArray) -> None:
        """Put a block behind the others.

        Raises:
            DataError: there is no room for it.
        """
        self._size_bytes += block.nbytes
        self._blocks.append(block)
        if self._size_bytes <= MOST_IN_MEMORY_BYTES:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=_folder())  # noqa: SIM115
            for one in self._blocks:
                self._file.write(np.ascontiguousarray(one).data)
        except OSError as error:
            raise DataError(
                f"{_folder()}: {self._size_bytes:,} bytes of records do not go there: "
                f"{error.strerror}; make room, or name another folder: TMPDIR=FOLDER"
            ) from None
        self._blocks = [block[:0]]

    def whole(self) -> NDArray:
        """All blocks [N, ...]: an array, or a map of the file."""
        if self._file is None:
            return np.concatenate(self._blocks)
        self._file.flush()
        like = self._blocks[0]
        num = self._size_bytes // (like.itemsize * int(np.prod(like.shape[1:])))
        with self._file as file:
            return np.memmap(file, like.dtype, "c", shape=(num, *like.shape[1:]))


class Parts:
    """Columns that stand beside records, and come in blocks as they do."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray]] = {}

    def add(self, block: dict[str, NDArray]) -> None:
        """Some rows of each column."""
        for name, part in block.items():
            self._parts.setdefault(name, []).append(part)

    def whole(self) -> dict[str, NDArray]:
        """Each column [N]."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


def taken(x: NDArray, which: NDArray) -> NDArray:
    """Some of the records, by a mask or by places: in a file where all of them are."""
    if not isinstance(x, np.memmap):
        return x[which]
    places = np.flatnonzero(which) if which.dtype == bool else which
    pile = Pile()
    for start in range(0, max(len(places), 1), AT_ONCE):
        pile.add(np.asarray(x[places[start : start + AT_ONCE]]))
    return pile.whole()


def _folder() -> str:
    return os.environ.get("TMPDIR") or str(LARGE if LARGE.is_dir() else tempfile.gettempdir())
