"""A run as a row of the page: read from its directory, and again only where a file changed."""

import math
import os
import shlex
import stat
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2s
from pathlib import Path
from typing import Any

from privacy.documents import from_json
from privacy.foreign import read_foreign
from privacy.text import shown
from server.watch.locks import Lock, lock_of
from server.watch.track import Track

MOST_SETTINGS_BYTES = 4 << 20  # a schema of many values is in them
MOST_NOTE_BYTES = 64 << 10
FRESH_S = 60.0  # a run that wrote since then goes on, where no lock can be seen
STAGES = {  # the document of each stage that a finished run may have seen
    "evaluated": "test.json",
    "attacked": "leakage.json",
    "audited": "audit.json",
    "priced": "cost.json",
    "encrypted": "inference.json",
}
NEXT = {"stopped": "resume", "finished": "report"}
Row = dict[str, Any]


def name_to_show(name: str) -> str:
    """A name of a file, which need not be text, as a short line."""
    return shown(os.fsencode(name).decode(errors="replace"), 64)


def id_of(name: str) -> str:
    """What the page calls something in the folder: a name may hold anything."""
    return blake2s(os.fsencode(name), digest_size=8).hexdigest()


def look_at(path: Path) -> os.stat_result | None:
    """A regular file, not followed anywhere; None if there is none."""
    try:
        about = path.lstat()
    except (OSError, ValueError):
        return None
    return about if stat.S_ISREG(about.st_mode) else None


@dataclass
class Kept:
    """A document that is read again when it changed."""

    read: Callable[[bytes], Any]
    most_bytes: int
    value: Any = None
    _seen: tuple[int, int, int] | None = None

    def of(self, path: Path, about: os.stat_result | None) -> Any:
        """What is in it; None if it is not there or no document."""
        now = about and (about.st_ino, about.st_mtime_ns, about.st_size)
        if now != self._seen:
            self._seen, self.value = now, None
            if now:
                try:
                    self.value = self.read(read_foreign(path, self.most_bytes, follow=False))
                except (OSError, ValueError, RecursionError):
                    self.value = None
        return self.value


def _settings(content: bytes) -> dict[str, Any]:
    return tomllib.loads(content.decode())


@dataclass
class RunView:
    """A run directory, as far as the page shows it.

    Attributes:
        row: what the page's list says of it.
        changed: the look in which the row last became another.
    """

    path: Path
    row: Row = field(default_factory=dict)
    changed: int = 0
    track: Track = field(default_factory=Track)
    _settings: Kept = field(default_factory=lambda: Kept(_settings, MOST_SETTINGS_BYTES))
    _environment: Kept = field(default_factory=lambda: Kept(from_json, MOST_NOTE_BYTES))
    _stopped: Kept = field(default_factory=lambda: Kept(from_json, MOST_NOTE_BYTES))
    _was_held: bool = False

    @property
    def told(self) -> dict[str, Any]:
        """The settings; empty if they cannot be read."""
        return self._settings.value or {}

    @property
    def known(self) -> dict[str, Any]:
        """Machine, versions, and when the run was made; likewise."""
        found = self._environment.value
        return found if isinstance(found, dict) else {}

    def look(self, locks: frozenset[Lock], most: int) -> int:
        """Bring the row up to date.

        Args:
            locks: that are held on this machine.
            most: bytes of rounds to read.

        Returns:
            How many were read.
        """
        place = self.path
        self._settings.of(about := place / "experiment.toml", look_at(about))
        self._environment.of(about := place / "environment.json", look_at(about))
        stopped = self._stopped.of(about := place / "stopped.json", look_at(about))
        rounds, lock = look_at(place / "rounds.jsonl"), look_at(place / ".lock")
        wrote, before, unread = 0.0, self.track.offset, ""
        if rounds:
            wrote = rounds.st_mtime
            try:
                self.track = self.track.follow(place / "rounds.jsonl", rounds, most)
            except OSError as error:
                unread = f"rounds.jsonl: {error.strerror}"
        told = self.told
        why = unread or self.track.damage
        why = why or ("" if told else "experiment.toml: cannot be read")
        held = lock is not None and lock_of(lock) in locks
        self._was_held |= held
        total = whole(section(told, "federation").get("rounds"))
        state = self._state(total, held, wrote, _diverged(stopped, self.track), why)
        self.row = {
            "id": id_of(place.name),
            "name": name_to_show(place.name),
            "state": state,
            "why": why or (f"diverged in round {n}" if (n := self._broke(stopped)) else ""),
            "stages": [s for s, name in STAGES.items() if look_at(place / name)],
            "created": _created(self.known, place),
            "wrote": wrote,
            **_asked(told),
            **self._reached(state, total),
            "next": f"privet {NEXT[state]} {shlex.quote(place.name)}"
            if state in NEXT and place.name.isprintable()
            else "",
        }
        return max(0, self.track.offset - before)

    def _broke(self, stopped: Any) -> int:
        return _diverged(stopped, self.track)

    def _state(self, total: int, held: bool, wrote: float, diverged: int, why: str) -> str:
        if why:
            return "damaged"
        if diverged:
            return "diverged"
        if total and self.track.rounds >= total:
            return "finished"
        if held:
            return "running"
        patience = max(FRESH_S, 5 * (self.track.seconds or 0.0))
        fresh = abs(time.time() - wrote) < patience
        return "running" if fresh and not self._was_held else "stopped"

    def _reached(self, state: str, total: int) -> Row:
        track, last = self.track, self.track.last
        seconds = track.seconds
        left = max(0, total - track.rounds)
        evaluated = track.evaluated
        return {
            "rounds": track.rounds,
            "of": total,
            "accuracy": evaluated and evaluated.accuracy,
            "best": track.best,
            "loss": evaluated and evaluated.loss,
            "figure": track.figure if not evaluated or evaluated.accuracy is None else None,
            "epsilon": last and last.epsilon,
            "seconds": seconds,
            "left_s": left * seconds if state == "running" and seconds is not None else None,
            "failures": track.failures,
            "failed": [last.failed, last.clients] if last else [0, 0],
            "spark": track.spark,
        }

    def detail(self, after: int, series: str) -> Row:
        """What an opened run shows: the points of its curves since a round, and who failed.

        Args:
            after: the last round that the page has.
            series: of which points; where it is another by now, all are told.
        """
        track = self.track
        mine = f"{track.begun}.{track.stride}"
        known = after if series == mine else 0
        points = [point.as_list() for point in track.points if point.round > known]
        if track.last and (not track.points or track.points[-1] is not track.last):
            points.append(track.last.as_list())
        return {
            "id": self.row["id"],
            "series": mine,
            "stride": track.stride,
            "after": known,
            "points": points,
            "failures": track.told,
        }


def section(told: Any, name: str) -> dict[str, Any]:
    """A table of the settings; empty if there is none."""
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def whole(value: Any) -> int:
    """A number of things; 0 if it is none."""
    return value if type(value) is int and 0 <= value < 1 << 53 else 0


def _word(value: Any, most: int = 40) -> str:
    return shown(value, most) if isinstance(value, str) and value else ""


def _asked(told: dict[str, Any]) -> Row:
    """What the settings say."""
    budget, federation = section(told, "budget"), section(told, "federation")
    target, unit = budget.get("epsilon"), _word(budget.get("unit")) or "none"
    if isinstance(target, bool) or not isinstance(target, int | float):
        target = 0
    private = unit != "none" and 0 < target < math.inf
    return {
        "title": _word(told.get("title")),
        "data": _word(section(told, "data").get("name")),
        "model": _word(section(told, "model").get("name")),
        "arithmetic": _word(section(told, "arithmetic").get("name")),
        "clients": whole(federation.get("clients")),
        "engine": _word(federation.get("engine")),
        "sums": _word(federation.get("secure_aggregation")),
        "seed": told["seed"] if type(told.get("seed")) is int else None,
        "unit": unit,
        "target": float(target) if private else None,
        "delta": budget.get("delta") if isinstance(budget.get("delta"), float) else None,
    }


def _diverged(stopped: Any, track: Track) -> int:
    """The round in which training left the numbers; 0 if none: as server.run.divergence."""
    if track.diverged or not isinstance(stopped, dict) or stopped.get("why") != "diverged":
        return track.diverged
    number = whole(stopped.get("round"))
    return number if number == track.rounds + 1 else 0


def _created(environment: dict[str, Any], path: Path) -> float:
    exact = environment.get("created_ns")
    if type(exact) is int and 0 < exact < 1 << 63:
        return exact / 1e9
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
