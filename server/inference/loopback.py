"""A service of one's own: `privet serve` on this machine, for as long as it is needed."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from privacy.errors import ServiceError
from server.inference.program import require_encryptable
from server.run.directory import Run

END_S = 15.0
PREFIX = "privet: "  # of the error that ends a command


@contextmanager
def loopback(
    run: Path, scheme: str, *, workers: int = 1, threads: int = 0, options: Sequence[str] = ()
) -> Iterator[str]:
    """Serve a run's model on a free port of the loopback interface; yields the URL.

    Args:
        threads: of each worker; 0 for all cores where the scheme can use them (a circuit's
            bootstraps run side by side, a CKKS program is one row of operations), one elsewhere.
        options: of `privet serve`, besides.

    Raises:
        ModelError: the scheme cannot evaluate such a model: no service is started.
        SettingsError: there is no such scheme.
        ServiceError: it did not start; with its own words, and its exit status.
    """
    require_encryptable(Run.open(run).experiment, scheme)
    threads = threads or (os.cpu_count() or 1 if scheme == "boolean" else 1)
    command = [sys.executable, "-m", "server", "serve", str(run), "--scheme", scheme, "--port", "0"]
    command += ["--workers", str(workers), "--threads", str(threads), *options]
    with started(command) as url:
        yield url


@contextmanager
def started(command: Sequence[str]) -> Iterator[str]:
    """Run a command that serves and tells its URL, for as long as the block lasts.

    Raises:
        ServiceError: it did not start; with its own words, and its exit status.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    words = Words(process.stderr)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            words.join()
            refused = ServiceError(words.error or "the service did not start, and said nothing")
            refused.exit_status = process.wait() or 1
            raise refused
        words.started = True
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        words.join()


class Words(threading.Thread):
    """What a service says on its stderr, passed on as it comes, but for why it did not start.

    Attributes:
        error: why, without the command's name.
        started: nothing is kept back any more.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__(daemon=True)
        assert stream is not None
        self._stream, self.error, self.started = stream, "", False
        self.start()

    def run(self) -> None:
        """Until the stream ends."""
        for line in self._stream:
            if not self.started and (self.error or line.startswith(PREFIX)):
                self.error = f"{self.error}\n{line.rstrip().removeprefix(PREFIX)}".lstrip("\n")
            else:
                sys.stderr.write(line)
