"""A learning service of one's own: `privet serve-learning` on this machine, for a while."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from server.inference.loopback import started


@contextmanager
def learning_loopback(folder: Path, options: Sequence[str] = ()) -> Iterator[str]:
    """Serve courses kept in a folder, on a free port of the loopback interface; yields the URL.

    Raises:
        ServiceError: it did not start.
    """
    command = [sys.executable, "-m", "server", "serve-learning", str(folder), "--port", "0"]
    with started([*command, *options]) as url:
        yield url
