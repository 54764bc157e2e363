"""What the owner keeps between two steps, in one folder: a training goes on after either side died.

lesson.toml         the settings. A folder has one lesson
records.sha256      of the records, as they are encrypted
key                 SECRET, the owner's eyes only: under it all is encrypted. Gone at the end
invitation-1 ...    SECRET: the same key, for other owners. Gone at the end, and theirs to remove
course.frame        keys for the server: public
state.safetensors   weights and point after the last step; under a budget they have its noise
letter.frame        the encrypted point of the step under way, to be sent again as it was
ledger              what the records have spent (privacy.dp.journal), if no other is named
model.safetensors   the model, at the end; learnt.json what there is to tell of it; run/ both, as
                    a run directory (server.inference.learning.left)
"""

import os
from pathlib import Path

import numpy as np
import tomli_w
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clients.learning.descent import State
from clients.learning.settings import Lesson
from privacy.documents import to_json
from privacy.encrypted.keys import load_secret, save_secret
from privacy.encrypted.learning.course import Course
from privacy.encrypted.learning.owner import Owner
from privacy.encrypted.wire import Frame, read_frame
from privacy.errors import RunError, WireError
from privacy.files import write_atomically
from privacy.foreign import MOST_ARRAYS_BYTES, read_foreign

LESSON, KEY, COURSE, STATE, LETTER = (
    "lesson.toml", "key", "course.frame", "state.safetensors", "letter.frame",
)  # fmt: skip
MODEL, LEARNT, LEDGER = "model.safetensors", "learnt.json", "ledger"
RECORDS, INVITATION = "records.sha256", "invitation-"


class Desk:
    """An owner's folder, of one lesson. Whoever opens it holds it (privacy.files.held)."""

    def __init__(self, folder: Path, lesson: Lesson) -> None:
        """Take a folder, new or of this very lesson.

        Raises:
            RunError: it holds another lesson's, or cannot be written to.
        """
        self.folder = folder
        self._told = tomli_w.dumps(lesson.model_dump(mode="json", exclude_none=True)).encode()
        path = folder / LESSON
        if not path.exists():
            if folder.is_dir() and any(f.name != ".lock" for f in folder.iterdir()):
                raise RunError(f"{folder}: is not empty; choose another --to")
        elif path.read_bytes() != self._told:
            raise RunError(
                f"{path}: another lesson than this; give back its settings to go on with it, or "
                "choose another --to"
            )

    @property
    def is_done(self) -> bool:
        """Is there a model?"""
        return (self.folder / LEARNT).exists()

    def owner(self, course: Course, records: str) -> tuple[Owner, Frame]:
        """The key, made once, and the frame of what the server needs of it.

        Args:
            records: SHA-256 of them.

        Raises:
            RunError, KeysError: what is kept is damaged, or of other records; or others may read
                the key.
        """
        path = self.folder / COURSE
        if path.exists():  # which is written last
            if (self.folder / RECORDS).read_text() != records:
                raise RunError(
                    f"{self.folder}: its lesson began with other records, which the server has; "
                    "give them back, or choose another --to"
                )
            owner = Owner(course, load_secret(self.folder / KEY))
            try:
                return owner, read_frame(path.read_bytes(), "keys", course.digest)
            except WireError as error:
                raise RunError(f"{path}: {error}; choose another --to, and begin again") from None
        owner = Owner(course)
        self._write(LESSON, self._told)  # now that it fits: before, the folder takes any other
        self._write(RECORDS, records.encode())
        save_secret(self.folder / KEY, owner.secret_bytes())
        parts = (course.model_dump_json().encode(), *owner.evaluation())
        self._write(COURSE, Frame("keys", course.digest, parts).to_bytes())
        return owner, read_frame(path.read_bytes(), "keys", course.digest)

    def state(self, outputs: int, features: int) -> State:
        """After the last step; the start, where none is done.

        Raises:
            RunError: it is damaged.
        """
        path = self.folder / STATE
        if not path.exists():
            return State.start(outputs, features)
        try:
            arrays = load(read_foreign(path, MOST_ARRAYS_BYTES))
            found = State(int(arrays["step"][0]), arrays["weights"], arrays["point"])
        except (SafetensorError, OSError, KeyError, ValueError, IndexError) as error:
            raise RunError(f"{path}: damaged: {error}; choose another --to") from None
        if {found.weights.shape, found.point.shape} != {(outputs, features)}:
            raise RunError(f"{path}: of another model; choose another --to")
        if found.step < 0 or not np.isfinite([found.weights, found.point]).all():
            raise RunError(f"{path}: damaged: no such weights; choose another --to")
        return found

    def keep(self, state: State) -> None:
        """A step is done. Its letter goes after: one sent again is for a point that has passed."""
        arrays = {"step": np.array([state.step]), "weights": state.weights, "point": state.point}
        self._write(STATE, save(arrays), secret=True)
        (self.folder / LETTER).unlink(missing_ok=True)

    def letter(self, course: Course) -> Frame | None:
        """The weights of the step under way, if they may have been sent already.

        Raises:
            RunError: what is kept is damaged.
        """
        path = self.folder / LETTER
        try:
            return read_frame(path.read_bytes(), "weights", course.digest)
        except FileNotFoundError:
            return None
        except WireError as error:
            raise RunError(f"{path}: {error}; remove it, and go on") from None

    def keep_letter(self, letter: Frame) -> Frame:
        """Before it is sent."""
        self._write(LETTER, letter.to_bytes())
        return letter

    def finish(self, arrays: bytes, told: dict) -> None:
        """Keep the model; forget the key, which nothing needs any more."""
        self._write(MODEL, arrays)
        self._write(LEARNT, to_json(told, indent=1).encode())
        for name in (KEY, LETTER, STATE, COURSE, RECORDS):
            (self.folder / name).unlink(missing_ok=True)
        for invitation in self.folder.glob(f"{INVITATION}*"):  # they hold the key
            invitation.unlink()

    def _write(self, name: str, content: bytes, secret: bool = False) -> None:
        with write_atomically(self.folder / name) as file:
            if secret:
                os.fchmod(file.fileno(), 0o600)
            file.write(content)
