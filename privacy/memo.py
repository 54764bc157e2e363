"""What took long to find out on this machine, kept beside the data sets: to be shown again.

It is for showing. Whoever decides by such an answer asks for it anew. What other code told, or
another version of a library, is asked again; so is what is not as it should be.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from privacy.documents import from_json, to_json
from privacy.errors import RunError
from privacy.files import cache_folder, write_atomically
from privacy.foreign import read_foreign

MOST = 4096  # answers that a file keeps; 0 keeps none, and recalls none
MOST_BYTES = 1 << 22

T = TypeVar("T")


def recalled(
    name: str, question: str, ask: Callable[[], T], checked: Callable[[Any], T | None]
) -> T:
    """The answer to a question, from before or, of whoever knows, now.

    Args:
        name: of a JSON file in the cache folder.
        question: all that the answer depends on, whose code it is among it (`told_by`).
        checked: makes an answer of what the file has, which anybody may have written; None where
            it is none.
    """
    if not MOST:
        return ask()
    path, key = cache_folder() / name, hashlib.sha256(question.encode()).hexdigest()[:32]
    known = _known(path)
    answer = checked(known[key]) if key in known else None
    if answer is None:
        answer = ask()
        known[key] = answer
        latest = dict([*(_read(path) | known).items()][-MOST:])
        with suppress(RunError), write_atomically(path) as file:  # else it is asked again
            file.write(to_json(latest).encode())
    return answer


@cache
def told_by(files: tuple[Path, ...], package: str) -> str:
    """Who answers: these files and folders of code, and a library, by the file of its version."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    code = hashlib.sha256()
    for place in (*files, Path(spec.origin).with_name("version.py")):
        for file in code_in(place):
            with open(file, "rb") as source:
                code.update(source.read())
    return code.hexdigest()


def code_in(place: Path) -> list[str]:
    """Files of Python in a folder, at any depth; or a file itself. In words, of which hundreds are
    found sooner than paths are."""
    walked = os.walk(place) if place.is_dir() else [("", [], [str(place)])]
    return sorted(
        os.path.join(folder, name)
        for folder, _, names in walked
        for name in names
        if name.endswith(".py")
    )


@cache
def _known(path: Path) -> dict[str, Any]:
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        told = from_json(read_foreign(path, MOST_BYTES))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
