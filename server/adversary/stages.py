"""Stages of an attack, each kept in the run when it is done, so that the next attack goes on."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from attacks.settings import Attack
from attacks.tape import Tape
from privacy.documents import to_json
from server.run.directory import Run

Found = dict[str, Any]


def mark_of(run: Run, tape: Tape, settings: Attack) -> str:
    """Of what the results stand on: other settings or weights, and a stage is done again."""
    last = (run.path / "rounds.jsonl").read_bytes()
    return hashlib.sha256(f"{settings!r}{tape.signature}".encode() + last).hexdigest()[:16]


def done_once(
    run: Run, name: str, mark: str, stage: Callable[[], Found], tell: Callable[[str], object]
) -> tuple[Found, float]:
    """What a stage found, and how many seconds it took; it is done if the run does not have it.

    A file that was damaged since is not gone on from.
    """
    kept = run.kept(f"attack/{name}.json")
    if kept.get("mark") != mark or kept.get("digest") != _digest(kept):
        tell(f"{name} ...")
        started = time.perf_counter()
        found = stage()
        kept = {"mark": mark, "seconds": time.perf_counter() - started, "found": found}
        run.keep(f"attack/{name}.json", kept | {"digest": _digest(kept)})
    return kept["found"], kept["seconds"]


def _digest(kept: Found) -> str:
    content = to_json([kept.get("seconds"), kept.get("found")])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
