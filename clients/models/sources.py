"""Files of the user's own models, known by their SHA-256.

A model file is code. What may run in this process is what was admitted to it: the file that the
user's experiment names, the copy in a run directory that was made here, or the file that a device's
owner named. Settings and messages tell a file's name and SHA-256, and never bring it.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from privacy.errors import ModelError
from privacy.foreign import read_foreign

MOST_SOURCE_BYTES = 1 << 20
PLACE = "PRIVET_MODEL"  # in the environment: a file for the processes of a simulation
NAMED = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")


class Source(NamedTuple):
    """A model file.

    Attributes:
        path: as errors call it.
        content: of the SHA-256 under which it was admitted.
    """

    path: str
    content: bytes


_ADMITTED: dict[str, Source] = {}
_EXPECTED: dict[str, Path] = {}


def is_own(name: str) -> bool:
    """Is a model's name `FILE.py:NAME`: a class or function in a file of the user's?"""
    return NAMED.fullmatch(name) is not None


def parts(name: str) -> tuple[str, str]:
    """The file and what is meant in it, of `FILE.py:NAME`."""
    found = NAMED.fullmatch(name)
    assert found is not None
    return found["file"], found["name"]


def admit(path: Path, told: str = "", *, sha256: str = "", follow: bool = True) -> str:
    """Let a file be run in this process; returns its SHA-256.

    Args:
        told: what errors call it; by default its path.
        sha256: that it must have; empty admits whatever is there.
        follow: a link.

    Raises:
        OSError: it cannot be read.
        ModelError: it is another file.
    """
    content = read_foreign(path, MOST_SOURCE_BYTES, follow)
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise ModelError(
            f"{told or path}: has SHA-256 {found[:12]}..., and {sha256[:12]}... is meant; bring "
            "that file back, or begin a new run with this one"
        )
    _ADMITTED.setdefault(found, Source(told or str(path), content))
    return found


def expect(sha256: str, path: Path) -> None:
    """Say where an admissible file is, to be read when its model is built."""
    _EXPECTED.setdefault(sha256, path)


def find(name: str, sha256: str) -> Source:
    """The admitted source of a model `FILE.py:NAME`.

    Raises:
        ModelError: none of that SHA-256 was admitted, or it is not what it was.
    """
    if sha256 not in _ADMITTED:
        path = _EXPECTED.get(sha256)
        if path is None and os.environ.get(PLACE):
            path = Path(os.environ[PLACE])
        if path is None or not sha256:
            raise ModelError(
                f"[model] name = {name!r}: the file of SHA-256 {sha256[:12] or 'none'} was not "
                "admitted here: begin with an experiment that names it, or with a run made here"
            )
        try:
            admit(path, sha256=sha256, follow=path is not _EXPECTED.get(sha256))
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read: {error.strerror}; it is the model of the run: bring it "
                "back"
            ) from None
    return _ADMITTED[sha256]
