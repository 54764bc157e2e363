"""Trainings on disk, each in a folder of its own: a service that is started again goes on.

NAME/course.frame     the owner's public keys; NAME is their identity
NAME/owner            who may use it
NAME/000.block        a block of encrypted records
NAME/last.json        the step that was answered last, and the digest of what it answered
NAME/last.answer      that answer, encrypted
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from privacy.documents import from_json, to_json
from privacy.encrypted.learning.course import Course
from privacy.encrypted.wire import read_frame
from privacy.errors import WireError
from privacy.files import write_atomically
from server.inference.gate.refusal import Refusal
from server.inference.gate.stores import Room

MOST_EACH = 16  # courses of one identity
FORGOTTEN_S = 7 * 86400.0  # since a course was last used: it gives way to another of its owner's
COURSE, OWNER, LAST, ANSWER = "course.frame", "owner", "last.json", "last.answer"


@dataclass(frozen=True)
class Kept:
    """One training's folder."""

    folder: Path

    @property
    def course(self) -> Course:
        """Its shapes."""
        content = (self.folder / COURSE).read_bytes()
        return read_course(content)[0]

    @property
    def owner(self) -> str:
        """Who began it."""
        return (self.folder / OWNER).read_text()

    @property
    def blocks(self) -> list[int]:
        """Blocks of records that are here."""
        return sorted(int(path.stem) for path in self.folder.glob("*.block"))

    def block(self, number: int) -> Path:
        """Where a block lies."""
        return self.folder / f"{number:03d}.block"

    @property
    def last(self) -> tuple[int, str]:
        """The step answered last, and the digest of its weights; -1 where none was."""
        try:
            told = from_json((self.folder / LAST).read_bytes())
            return int(told["step"]), str(told["weights"])
        except FileNotFoundError:
            return -1, ""

    @property
    def answer(self) -> bytes:
        """To that step."""
        return (self.folder / ANSWER).read_bytes()

    @property
    def idle_s(self) -> float:
        """Since something of it was written."""
        return time.time() - self.folder.stat().st_mtime

    def note(self, step: int, weights: str, answer: bytes) -> None:
        """Keep an answer before it leaves. The step is answered once last.json says so."""
        for name, content in (
            (ANSWER, answer),
            (LAST, to_json({"step": step, "weights": weights}).encode()),
        ):
            with write_atomically(self.folder / name) as file:
                file.write(content)


class Courses:
    """All of them, in the folder of a service."""

    def __init__(self, folder: Path, room: Room) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self._room = folder, room
        for left in folder.glob(".*.part"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def find(self, name: str, who: str, others: bool = False) -> Kept:
        """A course of this identity's.

        Args:
            others: who know its name may use it as well.

        Raises:
            WireError: 404, there is none of that name, or it is another's.
        """
        plain = len(name) == 64 and all(c in "0123456789abcdef" for c in name)
        kept = Kept(self.folder / name)
        if not plain or not (kept.folder / COURSE).exists() or (kept.owner != who and not others):
            raise WireError("no such course here; begin it: PUT its keys", 404)
        return kept

    def begin(self, name: str, arrived: Path, who: str) -> None:
        """Keep a course, whole or not at all.

        Raises:
            Refusal: 429, this identity has too many; 507, no room.
        """
        if (self.folder / name).exists():
            return
        mine = [Kept(f.parent) for f in self.folder.glob("*/owner") if f.read_text() == who]
        for kept in [k for k in mine if k.idle_s > FORGOTTEN_S]:
            self.end(kept)
            mine.remove(kept)
        if len(mine) >= MOST_EACH:
            raise Refusal(f"{MOST_EACH} courses of yours are here; end one: DELETE it", 429)
        self._room.require(arrived.stat().st_size)
        part = self.folder / f".{name}.part"
        part.mkdir(mode=0o700)
        shutil.copyfile(arrived, part / COURSE)
        (part / OWNER).write_text(who)
        part.rename(self.folder / name)

    def end(self, kept: Kept) -> None:
        """Forget a course."""
        part = kept.folder.with_name(f".{kept.folder.name}.part")
        kept.folder.rename(part)
        shutil.rmtree(part, ignore_errors=True)


def read_course(content: bytes) -> tuple[Course, tuple[bytes, ...]]:
    """A course and its evaluation keys, of a frame.

    Raises:
        WireError: it is not one, or is marked as another's.
    """
    digest = content[8:24]
    parts = read_frame(content, "keys", digest).parts
    try:
        course = Course.model_validate_json(parts[0])
    except (ValueError, IndexError):
        raise WireError("not a course: its first part tells no shapes", 422) from None
    if course.digest != digest:
        raise WireError("the frame is marked as another course's", 409)
    if reason := course.excess:
        raise WireError(reason, 413)
    return course, parts[1:]
