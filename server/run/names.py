"""Names of runs: what may be one, which is free, and which run is older."""

import errno
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from privacy.errors import RunError
from privacy.files import require_name

TAKEN = ("latest",)  # what commands call the newest run
OTHER_SUFFIX = ".sweep"  # the folder of a sweep, beside the runs


def runs_folder(chosen: Path | None = None) -> Path:
    """`--runs`, else `$PRIVET_RUNS`, else ./runs."""
    return chosen or Path(os.environ.get("PRIVET_RUNS") or "runs")


def names_of(title: str, name: str = "") -> Iterator[str]:
    """What a run may be called: `name`, or else its title and the time, as often as it takes.

    Raises:
        RunError: it cannot be the name of a folder, or is that of something else.
    """
    if not name:
        require_name("title", title)
        stamp = f"{title}-{time.strftime('%Y%m%d-%H%M%S')}"
        yield stamp
        attempt = 1
        while True:
            attempt += 1
            yield f"{stamp}-{attempt}"
    require_name("--name", name)
    if name.lower() in TAKEN or name.lower().endswith(OTHER_SUFFIX):
        raise RunError(f"--name {name}: is the name of something else; choose another")
    yield name


def settle(part: Path, runs: Path, title: str, name: str = "") -> Path:
    """Give a run that is whole its name; of several begun together, each gets its own.

    Raises:
        RunError: the name that was chosen is taken.
    """
    for chosen in names_of(title, name):
        try:
            return part.rename(runs / chosen)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
    raise RunError(f"{runs / name}: exists; resume it, or choose another --name")


def instant_of(created: str) -> float:
    """Seconds since 1970 of what `environment.json` says, whatever its time zone; 0 if nothing."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def age(environment: dict[str, Any], name: str) -> tuple[float, str]:
    """To sort runs by: the instant at which they were made."""
    exact = environment.get("created_ns")
    if isinstance(exact, int) and not isinstance(exact, bool) and 0 <= exact < 1 << 63:
        return exact / 1e9, name
    return instant_of(str(environment.get("created", ""))), name
