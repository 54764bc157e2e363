"""A service of one's own: `privet serve` on this machine, for as long as it is needed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from privacy.errors import ServiceError

END_S = 15.0


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
        ServiceError: it did not start; it has said why on stderr.
    """
    threads = threads or (os.cpu_count() or 1 if scheme == "boolean" else 1)
    command = [sys.executable, "-m", "server", "serve", str(run), "--scheme", scheme, "--port", "0"]
    command += ["--workers", str(workers), "--threads", str(threads), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ServiceError("the service did not start; see its message above")
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
