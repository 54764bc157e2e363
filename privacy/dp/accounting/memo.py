"""Epsilons that the accountant has told on this machine, kept beside the data sets, so that to show
one again loads no accountant.

They are for showing. Whoever decides by an epsilon (a device, a server, who solves for noise) asks
the accountant itself. What another Opacus told, or other code of this room, is asked again.
"""

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from privacy.documents import from_json, to_json
from privacy.errors import RunError
from privacy.files import cache_folder, write_atomically
from privacy.foreign import read_foreign

NAME = "epsilons.json"
MOST = 4096  # that are kept; 0 keeps none, and recalls none
MOST_BYTES = 1 << 20


def recalled(question: str, ask: Callable[[], float]) -> float:
    """The answer to a question, from before or, of the accountant, now.

    Args:
        question: all that the answer depends on.
    """
    if not MOST:
        return ask()
    path, key = cache_folder() / NAME, _key(question)
    known = _known(path)
    if key not in known:
        known[key] = ask()
        latest = dict([*(_read(path) | known).items()][-MOST:])
        with suppress(RunError), write_atomically(path) as file:  # else it is asked again
            file.write(to_json(latest).encode())
    return known[key]


def _key(question: str) -> str:
    return hashlib.sha256(f"{_accountant()} {question}".encode()).hexdigest()[:32]


@cache
def _accountant() -> str:
    """Which accountant answers: its code, and Opacus's version."""
    room = Path(__file__).parent
    files = [*sorted(room.glob("*.py")), room.parent / "ledger.py", room.parent / "discrete.py"]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"{version('opacus')} {code}"


@cache
def _known(path: Path) -> dict[str, float]:
    return _read(path)


def _read(path: Path) -> dict[str, float]:
    try:
        told = from_json(read_foreign(path, MOST_BYTES))
    except (OSError, ValueError):
        return {}
    known = told if isinstance(told, dict) else {}
    return {
        key: float(value)
        for key, value in known.items()
        if isinstance(value, int | float) and not math.isnan(value) and value >= 0
    }
