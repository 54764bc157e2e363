"""One worker process of a learning service: foreign ciphertexts are parsed here, and only here.

As `server.inference.worker`, whose requests and answers it has; what it computes is a gradient.

run as: python -m server.inference.learning.worker FOLDER COURSES_FOLDER MEMORY_BYTES
"""

import sys
from pathlib import Path

from privacy.encrypted.learning.steps import Steps
from privacy.encrypted.wire import Frame, Kind, read_frame
from privacy.errors import WireError
from server.inference.learning.courses import Kept, read_course
from server.inference.worker import work

BEGIN, BLOCK, STEP = 1, 2, 3


class Desk:
    """One course at a time in memory; another's is read from disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = b""
        self._steps: Steps | None = None

    @property
    def most_bytes(self) -> dict[Kind, int]:
        """Of a frame: each course has its own."""
        return {"keys": 1}

    def answer(self, operation: int, identity: bytes, content: bytes) -> bytes:
        """Look at keys or a block of records, or compute a step.

        Raises:
            WireError: a frame, or what is in it, is not what it should be.
        """
        if operation == BEGIN:
            self._steps = None
            Steps(*read_course(content))
            return b""
        steps = self._open(identity)
        digest = steps.course.digest
        if operation == BLOCK:
            frame = read_frame(content, "block", digest)
            steps.add_block(int.from_bytes(frame.nonce, "little"), frame.parts)
            return b""
        frame = read_frame(content, "weights", digest)
        parts = tuple(steps.gradient(frame.parts))
        return Frame("gradient", digest, parts, identity, frame.nonce).to_bytes()

    def _open(self, identity: bytes) -> Steps:
        """A course as it lies on disk: another worker may have taken blocks of it."""
        kept = Kept(self._folder / identity.hex())
        steps = self._steps
        if steps is None or self._name != identity or not steps.blocks.issuperset(kept.blocks):
            self._steps = None  # or two courses would be in memory
            try:
                steps = Steps(*read_course((kept.folder / "course.frame").read_bytes()))
                for block in kept.blocks:
                    content = kept.block(block).read_bytes()
                    parts = read_frame(content, "block", steps.course.digest).parts
                    steps.add_block(block, parts)
            except FileNotFoundError:
                raise WireError("no such course here any more; begin it again", 404) from None
            self._name, self._steps = identity, steps
        return steps


if __name__ == "__main__":
    work(lambda: Desk(Path(sys.argv[2])), int(sys.argv[3]))
