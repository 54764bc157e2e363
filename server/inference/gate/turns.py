"""Workers, one identity after another: whoever has used least of their time is next.

Start-time fair queueing (Goyal, Vin and Cheng 1997): each identity has a virtual time, which is the
seconds that it has used, and never lies behind that of whoever was served last: who was away saves
nothing up. So one client with a thousand requests costs another one request's wait, not a thousand.
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from server.inference.gate.refusal import Refusal

REMEMBERED = 10_000  # identities; who is forgotten begins again as everyone does

Free = TypeVar("Free")


class Turns(Generic[Free]):
    """What is free (workers), and who waits for it."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._free: deque[Free] = deque()
        self._queues: dict[str, deque[asyncio.Future[Free]]] = {}
        self._used_s: dict[str, float] = {}
        self._now_s = 0.0

    @property
    def waiting(self) -> int:
        """Requests of all identities."""
        return sum(map(len, self._queues.values()))

    async def take(self, who: str, patience_s: float) -> Free:
        """The next that is free, in turn.

        Raises:
            Refusal: 429, this identity waits often enough; 503, too many wait, or others with
                fewer requests came; 504, its turn did not come.
        """
        self._used_s[who] = max(self._used_s.get(who, 0.0), self._now_s)
        if self._free and not self.waiting:
            self._now_s = max(self._now_s, self._used_s[who])
            return self._free.popleft()
        place = self._line_up(who)
        try:
            async with asyncio.timeout(patience_s):
                return await place
        except BaseException as error:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give(place.result())  # its turn came at the very moment at which it left
            if isinstance(error, TimeoutError):
                told = f"no worker was free within {patience_s:g} s; try again"
                raise Refusal(told, 504) from None
            raise
        finally:
            self._leave(who, place)

    def _line_up(self, who: str) -> asyncio.Future[Free]:
        mine = self._queues.get(who, ())
        if len(mine) >= self._most_each:
            raise Refusal(f"{len(mine)} of your requests wait already; try again", 429)
        if self.waiting >= self._most:
            longest = max(self._queues.values(), key=len)
            if len(longest) <= len(mine) + 1:
                raise Refusal(f"{self.waiting} requests wait already; try again")
            if not (last := longest.pop()).done():
                last.set_exception(Refusal("others wait for less than you; try again"))
        place: asyncio.Future[Free] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(who, deque()).append(place)
        return place

    def _leave(self, who: str, place: asyncio.Future[Free]) -> None:
        queue = self._queues.get(who)
        if queue is not None and place in queue:
            queue.remove(place)
        if queue is not None and not queue:
            del self._queues[who]

    def give(self, free: Free) -> None:
        """Hand over what has become free, to whoever is next."""
        for who in sorted(self._queues, key=lambda who: self._used_s.get(who, 0.0)):
            queue = self._queues[who]
            while queue:
                place = queue.popleft()
                if not place.done():
                    self._now_s = max(self._now_s, self._used_s.get(who, 0.0))
                    place.set_result(free)
                    return
        self._free.append(free)

    def withdraw(self, gone: Free) -> None:
        """What was free is there no more."""
        if gone in self._free:
            self._free.remove(gone)

    def charge(self, who: str, seconds: float) -> None:
        """Note what an identity has used."""
        self._used_s[who] = self._used_s.get(who, self._now_s) + seconds
        if len(self._used_s) > REMEMBERED:
            behind = [name for name, used_s in self._used_s.items() if used_s <= self._now_s]
            for name in behind or sorted(self._used_s, key=self._used_s.__getitem__)[:100]:
                del self._used_s[name]
