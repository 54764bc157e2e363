"""Bytes that are under way: they go to files as they come, and all of them are counted.

A request costs memory nowhere else than in its file: the service hashes it piece by piece, and the
worker is told where it lies.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request

from privacy.encrypted.wire import Arriving, Head, Kind
from privacy.errors import WireError
from server.inference.gate.refusal import Refusal
from server.inference.gate.stores import Room

SHARE = 4  # of the budget, what one identity may hold is the fourth part
LAST = 4  # and the last fourth part is for those who hold little,
LITTLE = 64  # the 64th part


class Budget:
    """Bytes that may be under way at once, over all connections, and who holds them."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._most_each = most_bytes, most_bytes // SHARE
        self._held: Counter[str] = Counter()
        self.held_bytes = 0

    def allow(self, largest_bytes: int) -> None:
        """Let every identity send one request of such a size, whatever its share is."""
        self._most_bytes = max(self._most_bytes, largest_bytes)
        self._most_each = max(self._most_bytes // SHARE, largest_bytes)

    def take(self, who: str, num_bytes: int) -> None:
        """Count bytes that have come.

        Raises:
            Refusal: 429, this identity holds too many; 503, all together do.
        """
        mine, held = self._held[who] + num_bytes, self.held_bytes + num_bytes
        if mine > self._most_each:
            raise Refusal(f"more than {self._most_each} bytes of yours are under way", 429)
        little = mine <= self._most_bytes // LITTLE
        if held > self._most_bytes - (0 if little else self._most_bytes // LAST):
            raise Refusal("too many bytes of others are under way; try again")
        self._held[who], self.held_bytes = mine, held

    def give_back(self, who: str, num_bytes: int) -> None:
        """They are gone."""
        self.held_bytes -= num_bytes
        self._held[who] -= num_bytes
        if not self._held[who]:
            del self._held[who]


@dataclass(frozen=True)
class Arrived:
    """A frame that is whole, in a file that lasts as long as its request."""

    head: Head
    path: Path


class Intake:
    """Takes in requests, each into a file."""

    def __init__(self, folder: Path, budget: Budget, room: Room, request_s: float) -> None:
        folder.mkdir(mode=0o700)
        self._folder, self._budget, self._room = folder, budget, room
        self._request_s = request_s
        self._numbers = itertools.count()

    @asynccontextmanager
    async def receive(
        self, request: Request, who: str, kind: Kind, model: bytes, most_bytes: int
    ) -> AsyncIterator[Arrived]:
        """A request's frame; refused as soon as it is known to be too large, wrong or too slow.

        Raises:
            WireError: it is not such a frame; 408, not received in time; 413, too large.
            Refusal: there is no room for it now.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and (len(declared) > 20 or int(declared) > most_bytes):
            raise WireError(f"{declared} bytes; {most_bytes} are the most", 413)
        path = self._folder / str(next(self._numbers))
        frame, taken = Arriving(kind, model, most_bytes), 0

        async def receive(file: BinaryIO) -> None:
            nonlocal taken
            async for piece in request.stream():
                frame.feed(piece)
                self._budget.take(who, len(piece))
                taken += len(piece)
                self._room.require(len(piece))
                file.write(piece)

        try:
            try:
                with path.open("xb") as file:
                    await asyncio.wait_for(receive(file), self._request_s)
            except TimeoutError:
                late = f"not received within {self._request_s:g} s"
                raise WireError(late, 408) from None
            yield Arrived(frame.finish(), path)
        finally:
            path.unlink(missing_ok=True)
            self._budget.give_back(who, taken)
