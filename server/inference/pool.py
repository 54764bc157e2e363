"""The worker processes of a service: each place in the pool is kept filled."""

import asyncio
import time
from pathlib import Path

from privacy.errors import ServiceError
from server.inference.gate.turns import Turns
from server.inference.limits import Limits
from server.inference.workers import Answer, Worker, WorkerDied

MODULE = "server.inference.worker"
BACK_OFF_S, MOST_BACK_OFF_S = 0.2, 30.0  # after a worker that did not start, doubled each time
GIVE_UP = 6  # failed starts in a row, at which the service ends if no worker lives


class Pool:
    """Workers, and the requests that wait for one."""

    def __init__(
        self, folder: Path, keys_folder: Path, limits: Limits, module: str = MODULE
    ) -> None:
        self._start = (module, folder, keys_folder, limits.threads, limits.memory_bytes)
        self._limits = limits
        self._turns: Turns[Worker] = Turns(limits.waiting, limits.waiting_each)
        self._places: list[asyncio.Task[None]] = []
        self._workers: dict[int, Worker] = {}
        self._start_s = 0.0  # of the last worker: what a crash costs everyone
        self.replaced = 0
        self.failed = asyncio.Event()  # workers do not start any more

    @property
    def workers(self) -> list[Worker]:
        """Those that live."""
        return [worker for worker in self._workers.values() if worker.alive]

    @property
    def waiting(self) -> int:
        """Requests that wait for a worker."""
        return self._turns.waiting

    async def open(self) -> dict[str, int]:
        """Start every worker.

        Returns:
            The most bytes of a frame, by kind, as the model needs them.

        Raises:
            ServiceError: one did not start.
        """
        starts = [Worker.start(*self._start) for _ in range(self._limits.workers)]
        begun = await asyncio.gather(*starts, return_exceptions=True)
        for number, worker in enumerate(begun):
            if isinstance(worker, Worker):
                self._workers[number] = worker
        for worker in begun:
            if isinstance(worker, BaseException):
                raise worker
        loop = asyncio.get_running_loop()
        self._places = [loop.create_task(self._keep_filled(n)) for n in self._workers]
        return next(iter(self._workers.values())).most_bytes

    async def close(self) -> None:
        """End every worker, those too that are about to start."""
        for place in self._places:
            place.cancel()
        await asyncio.gather(*self._places, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._workers.values()))

    async def ask(self, who: str, operation: int, identity: bytes, frame: Path) -> Answer:
        """Have a request answered by a worker, when it is this identity's turn.

        A worker that ends during a request is not asked again: the request may be what ended it.

        Raises:
            WorkerDied: it did.
            Refusal: too many wait, or no worker was free in time.
        """
        patience_s = self._limits.waiting_s
        worker = await self._turns.take(who, patience_s)
        while not worker.alive:  # ended a moment ago
            worker = await self._turns.take(who, patience_s)
        begun, answer, cost_s = time.monotonic(), None, 0.0
        try:
            limit_s = self._limits.answer_s
            answer = await asyncio.wait_for(worker.ask(operation, identity, frame), limit_s)
            return answer
        except TimeoutError:
            told = f"not done within {limit_s:g} s".encode()
            return Answer(504, time.monotonic() - begun, told)
        except WorkerDied:
            await worker.kill()
            cost_s = self._start_s if worker.crashed else 0.0
            raise WorkerDied(worker.crashed) from None
        finally:
            self._turns.charge(who, time.monotonic() - begun + cost_s)
            if answer is not None:
                self._turns.give(worker)
            else:  # what it says later would answer another request
                await worker.kill()

    async def _keep_filled(self, number: int) -> None:
        """Hand out the worker of a place; start another whenever it has ended."""
        failures = 0
        while True:
            worker = self._workers[number]
            if worker.alive:
                self._turns.give(worker)
                await worker.died()
                self._turns.withdraw(worker)
            try:
                begun = time.monotonic()
                self._workers[number] = await Worker.start(*self._start)
                self._start_s = time.monotonic() - begun
                self.replaced += 1
                failures = 0
            except ServiceError:
                failures += 1
                if failures >= GIVE_UP and not self.workers:
                    self.failed.set()
                await asyncio.sleep(min(BACK_OFF_S * 2**failures, MOST_BACK_OFF_S))
