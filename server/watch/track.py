"""rounds.jsonl as it grows: only what is new is read, and of that only what a page shows.

The file may be another's, and may be written this moment: a last line without its end waits, a line
that is no record stops the track with a word, and no line and no number of lines takes more memory
than it may. It is parsed without `RoundRecord`, whose imports take longer than the page has.
"""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pydantic_core

from privacy.documents import BESIDE, from_json
from privacy.foreign import open_foreign
from privacy.text import shown

MOST_POINTS = 512  # of a curve; of longer ones each second, fourth, ... round
MOST_LINE_BYTES = 32 << 20  # a round of 100,000 clients
MOST_READ_BYTES = 16 << 20  # of a run in one look; the rest in the next
MOST_FILE_BYTES = 1 << 40
MOST_FIGURES, MOST_TOLD = 4, 20
MOST_REASON, MOST_NAME = 160, 24
RECENT = 10  # rounds from which the time of the next is told


@dataclass(frozen=True, slots=True)
class Point:
    """One round.

    Attributes:
        accuracy, loss: None in rounds that were not evaluated.
        epsilon: infinite without noise; None without a budget.
        seconds: that it took.
        failed, clients: how many sent nothing that counts, and how many were asked.
        figures: others on the test set, by name.
    """

    round: int
    accuracy: float | None
    loss: float | None
    epsilon: float | None
    seconds: float
    failed: int
    clients: int
    figures: dict[str, float]

    def as_list(self) -> list[Any]:
        """For the page, in the order of the fields."""
        figures = {name: value for name, value in self.figures.items() if math.isfinite(value)}
        told = [self.round, self.accuracy, self.loss, self.epsilon, self.seconds]
        return [*told, self.failed, self.clients, figures]


@dataclass
class Track:
    """The rounds of a run, as far as they were read.

    Attributes:
        points: at most `MOST_POINTS`, each `stride`-th round.
        rounds: how many are done.
        last: the last round; None before.
        evaluated: the last that was evaluated.
        failures: of clients, in all.
        told: the last failures: round, client, reason.
        diverged: the first round whose loss is no number; 0 if none is.
        damage: why reading stopped; empty if it did not.
        begun: how often it was read from its start.
    """

    points: list[Point] = field(default_factory=list)
    stride: int = 1
    rounds: int = 0
    last: Point | None = None
    evaluated: Point | None = None
    best: float | None = None
    failures: int = 0
    told: list[tuple[int, int, str]] = field(default_factory=list)
    diverged: int = 0
    damage: str = ""
    begun: int = 1
    _recent: list[float] = field(default_factory=list)
    _rest: bytes = b""
    _offset: int = 0
    _inode: int = 0
    _seen: tuple[int, int] = (0, 0)

    @property
    def seconds(self) -> float | None:
        """The median of the last rounds; None before the first."""
        return median(self._recent) if self._recent else None

    @property
    def spark(self) -> list[float]:
        """A few accuracies, or other figures, from first to last."""
        values = [value for point in self.points if (value := _merit(point)) is not None]
        step = max(1, math.ceil(len(values) / 32))
        return [round(value, 4) for value in values[::-step][::-1]]

    @property
    def figure(self) -> tuple[str, float] | None:
        """What the model reached last, by name, where that is no accuracy."""
        for name, value in self.evaluated.figures.items() if self.evaluated else ():
            return name, value
        return None

    @property
    def offset(self) -> int:
        """Bytes that were read."""
        return self._offset

    def follow(self, path: Path, about: os.stat_result, most: int = MOST_READ_BYTES) -> "Track":
        """Read what was added since; of a file that became another or shorter, all of it again.

        Args:
            about: the file, as it was looked at just now.
            most: bytes to read; what is left comes with the next call.

        Returns:
            This track, or one that began again.

        Raises:
            OSError: it is no regular file, or cannot be read.
        """
        now = (about.st_mtime_ns, about.st_size)
        if now == self._seen and (self.damage or self._offset >= about.st_size):
            return self
        altered = about.st_ino != self._inode or about.st_size < self._offset
        if self._inode and (altered or self.damage):
            return Track(begun=self.begun + 1).follow(path, about, most)
        self._inode, self._seen = about.st_ino, now
        if about.st_size > self._offset:
            with open_foreign(path, MOST_FILE_BYTES, follow=False) as file:
                file.seek(self._offset)
                block = file.read(min(most, MOST_READ_BYTES))
            self._offset += len(block)
            self._take(block)
        return self

    def _take(self, block: bytes) -> None:
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            if self.damage:
                return
            try:
                self._add(_record(line), line)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
                self.damage = f"rounds.jsonl: line {self.rounds + 1} is not a whole record"
        if len(self._rest) > MOST_LINE_BYTES:
            self.damage = f"rounds.jsonl: line {self.rounds + 1} is too long"
            self._rest = b""

    def _add(self, told: dict[str, Any], line: bytes) -> None:
        clients = told["clients"]
        failed = [c for c in clients if c["failure"] is not None]
        point = Point(
            round=told["round"],
            accuracy=_number(told.get("accuracy")),
            loss=_number(told.get("loss")),
            epsilon=_number(told.get("epsilon")),
            seconds=_number(told["seconds"]) or 0.0,
            failed=len(failed),
            clients=len(clients),
            figures=_figures(told.get("figures", {})),
        )
        if type(point.round) is not int or point.round != self.rounds + 1:
            raise ValueError("out of order")
        self.rounds, self.last = point.round, point
        if point.accuracy is not None or point.loss is not None or point.figures:
            self.evaluated = point
        if point.accuracy is not None:
            self.best = max(point.accuracy, -math.inf if self.best is None else self.best)
        if point.loss is not None and not math.isfinite(point.loss) and not self.diverged:
            self.diverged = point.round
        self._recent = [*self._recent[1 - RECENT :], point.seconds]
        self.failures += len(failed)
        said = [
            (point.round, int(c["client"]), shown(str(c["failure"]), MOST_REASON))
            for c in failed[:MOST_TOLD]
        ]
        self.told = [*self.told, *said][-MOST_TOLD:]
        if point.round % self.stride == 0:
            self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.stride *= 2
            self.points = [point for point in self.points if point.round % self.stride == 0]


def _record(line: bytes) -> dict[str, Any]:
    """The object in a line; the slow reader only where a number has a word beside it."""
    told = from_json(line) if f'{BESIDE}"'.encode() in line else _plain(line)
    if not isinstance(told, dict):
        raise ValueError("no record")
    return told


def _plain(line: bytes) -> Any:
    try:
        return pydantic_core.from_json(line)
    except ValueError:  # of half a surrogate, too, which a reason may quote and json reads
        pass
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no number")
    return float(value)


def _figures(told: dict[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in list(told.items())[:MOST_FIGURES]:
        if (number := _number(value)) is not None:
            found[shown(name, MOST_NAME)] = number
    return found


def _merit(point: Point) -> float | None:
    values = (point.accuracy, *point.figures.values())
    return next((x for x in values if x is not None and math.isfinite(x)), None)
