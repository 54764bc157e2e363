"""A worker process as the service sees it: handed one request at a time."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import ServiceError
from server.inference.worker import ANSWER, REQUEST

START_S = 60.0
END_S = 2.0
OTHERS_SIGNALS = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)


class WorkerDied(Exception):
    """A worker process ended before it had answered.

    Args:
        crashed: by itself, and not by a signal that others send.
    """

    def __init__(self, crashed: bool = False) -> None:
        super().__init__()
        self.crashed = crashed


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
    """One process that computes on ciphertexts."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.answered = 0
        self.most_bytes: dict[str, int] = {}

    @classmethod
    async def start(
        cls, module: str, folder: Path, keys_folder: Path, threads: int, memory_bytes: int
    ) -> "Worker":
        """Start a process and wait until it has compiled its model, and told its `most_bytes`.

        Args:
            module: that it runs: `server.inference.worker`, or one of learning.

        Raises:
            ServiceError: it ends instead.
        """
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                str(folder),
                str(keys_folder),
                str(memory_bytes),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 22,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the service, which ends them in order
            )
        except OSError as error:  # no descriptors, no processes, no memory left for it
            raise ServiceError(f"a worker process did not start: {error.strerror}") from None
        worker = cls(process)
        try:
            ready = await asyncio.wait_for(worker._read(), START_S)
        except (WorkerDied, TimeoutError):
            raise ServiceError("a worker process did not start; see its message above") from None
        else:
            worker.most_bytes = json.loads(ready.content)
            return worker
        finally:
            if not worker.most_bytes:  # also where the wait was cancelled
                await worker.kill()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Has not ended."""
        return self._process.returncode is None

    @property
    def crashed(self) -> bool:
        """Has ended by itself, and not by a signal that others send."""
        return self._process.returncode not in (None, 0, *OTHERS_SIGNALS)

    async def died(self) -> None:
        """Wait until it has."""
        await self._process.wait()

    async def ask(self, operation: int, identity: bytes, frame: Path) -> Answer:
        """Hand over a request and wait for the answer.

        Raises:
            WorkerDied: the process ended.
        """
        assert self._process.stdin is not None
        try:
            path = os.fsencode(frame)
            self._process.stdin.write(REQUEST.pack(operation, identity, len(path)) + path)
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
        if self.alive:
            with suppress(ProcessLookupError):
                # `Process.kill` reaps what has ended already, and its exit status is lost
                os.kill(self.pid, signal.SIGKILL)
        await self._process.wait()

    async def end(self) -> None:
        """Let it end by itself, or end it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_S)
        except TimeoutError:
            await self.kill()
