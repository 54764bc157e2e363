"""The worker processes of a service: handed requests one at a time, watched, replaced."""

import asyncio
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import ServiceError
from server.inference.worker import ANSWER, REQUEST

START_S = 60.0
END_S = 2.0


class WorkerDied(Exception):
    """A worker process ended before it had answered."""


class Overloaded(ServiceError):
    """More requests wait than the service lets wait."""


@dataclass(frozen=True)
class Answer:
    """What a worker says.

    Attributes:
        status: as in HTTP.
        seconds: computed in the worker.
    """

    status: int
    seconds: float
    content: bytes


class Worker:
    """One process of `server.inference.worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.answered = 0

    @classmethod
    async def start(
        cls, folder: Path, keys_folder: Path, threads: int, memory_bytes: int
    ) -> "Worker":
        """Start a process and wait until it has compiled its model.

        Raises:
            ServiceError: it ends instead.
        """
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "server.inference.worker",
            str(folder),
            str(keys_folder),
            str(memory_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the service, which ends its workers in order
        )
        worker = cls(process)
        try:
            await asyncio.wait_for(worker._read(), START_S)
        except (WorkerDied, TimeoutError):
            await worker.kill()
            raise ServiceError("a worker process did not start; see its message above") from None
        return worker

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Has not ended."""
        return self._process.returncode is None

    async def ask(self, operation: int, identity: bytes, content: bytes) -> Answer:
        """Hand over a request and wait for the answer.

        Raises:
            WorkerDied: the process ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(REQUEST.pack(operation, identity, len(content)))
            self._process.stdin.write(content)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerDied from None
        answer = await self._read()
        self.answered += 1
        return answer

    async def _read(self) -> Answer:
        assert self._process.stdout is not None
        try:
            header = await self._process.stdout.readexactly(ANSWER.size)
            status, seconds, length = ANSWER.unpack(header)
            return Answer(status, seconds, await self._process.stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            raise WorkerDied from None

    async def kill(self) -> None:
        """End it now."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """Let it end by itself, or end it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_S)
        except TimeoutError:
            await self.kill()


class Pool:
    """Workers, and the requests that wait for one."""

    def __init__(
        self,
        folder: Path,
        keys_folder: Path,
        *,
        workers: int,
        threads: int,
        timeout_s: float,
        waiting: int,
        memory_bytes: int,
    ) -> None:
        self._start = (folder, keys_folder, threads, memory_bytes)
        self._number, self._timeout_s, self._most_waiting = workers, timeout_s, waiting
        self._free: asyncio.Queue[Worker] = asyncio.Queue()
        self.workers: list[Worker] = []
        self.waiting = 0
        self.replaced = 0
        self._tasks: set[asyncio.Task[None]] = set()  # replacements under way

    async def open(self) -> None:
        """Start every worker."""
        self.workers = list(
            await asyncio.gather(*(Worker.start(*self._start) for _ in range(self._number)))
        )
        for worker in self.workers:
            self._free.put_nowait(worker)

    async def close(self) -> None:
        """End every worker."""
        await asyncio.gather(*(worker.end() for worker in self.workers))

    async def ask(self, operation: int, identity: bytes, content: bytes) -> Answer:
        """Have a request answered by the next free worker; once more if that one dies.

        Raises:
            Overloaded: too many wait already.
        """
        if self.waiting >= self._most_waiting:
            raise Overloaded(f"{self.waiting} requests wait already; try again")
        for last in (False, True):
            worker = await self._take()
            begun = time.perf_counter()
            try:
                answer = await asyncio.wait_for(
                    worker.ask(operation, identity, content), self._timeout_s
                )
            except WorkerDied:
                self._replace(worker)
                if last:
                    return Answer(500, 0.0, b"a worker died of this request, twice")
                continue
            except (TimeoutError, asyncio.CancelledError) as error:
                self._replace(worker)  # what it says later would answer another request
                if isinstance(error, asyncio.CancelledError):
                    raise
                seconds = time.perf_counter() - begun
                return Answer(504, seconds, f"not done within {self._timeout_s:g} s".encode())
            self._free.put_nowait(worker)
            return answer
        raise AssertionError

    async def _take(self) -> Worker:
        self.waiting += 1
        try:
            while True:
                worker = await self._free.get()
                if worker.alive:
                    return worker
                self._replace(worker)
        finally:
            self.waiting -= 1

    def _replace(self, worker: Worker) -> None:
        """Kill a worker and start another, in the background."""

        async def replace() -> None:
            await worker.kill()
            fresh = await Worker.start(*self._start)
            self.workers[self.workers.index(worker)] = fresh
            self.replaced += 1
            self._free.put_nowait(fresh)

        task = asyncio.get_running_loop().create_task(replace())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
