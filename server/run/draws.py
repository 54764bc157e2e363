"""Rounds whose noise was drawn, or was about to be: one JSON line before each draw.

Noise of the operating system's is another each time. A round that is killed after its draw and then
done again releases twice what was charged once: the draw that was lost may have been seen. So a
draw is written down before it is made, and a resumed run charges those that never became a round.
"""

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from privacy.documents import from_json, to_json
from privacy.errors import RunError
from privacy.files import open_own
from privacy.foreign import MOST_DOCUMENT_BYTES, read_foreign

NAME = "draws.jsonl"


class Draws:
    """The file in a run's directory; made when something is first drawn."""

    def __init__(self, run: Path) -> None:
        self._path = run / NAME

    def note(self, number: int, clients: Collection[int]) -> None:
        """Write down, before it happens, that round `number` draws noise for these clients.

        Raises:
            RunError: it cannot be written; nothing was drawn.
        """
        body = to_json({"round": number, "clients": sorted(clients)})
        line = f"\n{body}\n"  # apart from one before it that was cut short
        try:
            with os.fdopen(open_own(self._path, os.O_APPEND), "ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self._path}: cannot be written: {error.strerror or error}") from None

    def lost(self, number: int) -> Counter[int]:
        """How many draws for each client were made for round `number`, which is not done.

        A line that was cut short was never followed by its draw.
        """
        lost: Counter[int] = Counter()
        if self._path.exists():
            for line in read_foreign(self._path, MOST_DOCUMENT_BYTES, False).splitlines():
                with suppress(ValueError):
                    body = from_json(line)
                    if body["round"] == number:
                        lost.update(body["clients"])
        return lost
