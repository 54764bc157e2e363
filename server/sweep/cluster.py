"""`privet sweep --on ray://HOST:PORT`: cells on the workers of a Ray cluster.

A cell there is one command, `privet sweep` of this cell alone in a folder of its own. Back come the
bytes of its run directory, which are written here whole or not at all; then the cell is done here
as any other, and finds that nothing is left to do. So a run is that of one machine, and a worker
that is lost costs its own cell alone, which Ray gives to another.

A worker must have this privet, and what the experiment names at the same paths. Whoever reaches a
cluster of Ray can run code on it and on who asks it: it is trusted as this machine is.
"""

import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from privacy.documents import to_json
from privacy.errors import RunError, ServiceError, SettingsError
from server.experiment.experiment import Experiment
from server.experiment.idle import idle_of
from server.run import origin
from server.run.directory import Run
from server.sweep.document import Cell, Document
from server.sweep.stages import Order

ADDRESS = re.compile(r"ray://[^\s/:]+:[0-9]{1,5}")
MOST_BYTES = 1 << 30  # of a run directory
TRIES = 3  # more, of a cell whose worker was lost
# No Ray of this machine's own in the place of a cluster that is gone, and no talk of gRPC's.
QUIET = {"RAY_ENABLE_AUTO_CONNECT": "0", "GRPC_VERBOSITY": "ERROR"}
Files = dict[str, bytes]


class Cluster:
    """Workers of Ray.

    Args:
        address: `ray://HOST:PORT`.

    Raises:
        SettingsError: it is no address.
        ServiceError: nobody answers there.
    """

    def __init__(self, address: str) -> None:
        if not ADDRESS.fullmatch(address):
            raise SettingsError(f"--on {address}: must be ray://HOST:PORT, where a cluster listens")
        os.environ |= QUIET
        import ray

        self._ray: Any = ray
        self._broken = (ray.exceptions.RayError, ConnectionError, RuntimeError)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ServiceError(f"--on {address}: no cluster answers: {_first(error)}") from None
        self._asked: dict[str, Any] = {}

    def ask(self, cell: Cell, experiment: Experiment, document: Document, order: Order) -> None:
        """Have a cell done, if it was not asked for before.

        Raises:
            ServiceError: the cluster is gone.
        """
        if cell.digest in self._asked:
            return
        command = command_of(cell, experiment, document, order)
        try:
            work = self._ray.remote(num_cpus=1, max_retries=TRIES)(done_there)
            self._asked[cell.digest] = work.remote(command, os.getcwd(), MOST_BYTES)
        except self._broken as error:
            raise _lost(error) from None

    def bring(self, cell: Cell, experiment: Experiment, run: Run) -> None:
        """Wait for a cell that was asked for, and write its run here.

        Raises:
            ServiceError: it failed there, or no worker was left to do it.
            RunError: what came is not that run.
        """
        try:
            files, said = self._ray.get(self._asked.pop(cell.digest))
        except self._broken as error:
            raise _lost(error) from None
        if not files:
            raise ServiceError(f"on the cluster: {said}")
        _write(files, experiment, run)


def _lost(error: Exception) -> ServiceError:
    return ServiceError(f"on the cluster: {_first(error)}")


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def command_of(cell: Cell, experiment: Experiment, document: Document, order: Order) -> list[str]:
    """What a worker does of a cell: a sweep of one cell; `--runs` follows."""
    name = document.experiment
    settings = {key: v for key, v in cell.settings.items() if not idle_of(experiment, [key])}
    over = [f"{key}={to_json(value)}" for key, value in (settings | {"seed": cell.seed}).items()]
    given = [("-s", setting) for setting in document.fixed]
    given += [("--over", axis) for axis in over]
    given += [("--cost", chip) for chip in order.chips]
    given += [("--infer", f"{scheme}={images}") for scheme, images in order.schemes.items()]
    stages = ["--attack"] * order.attack + ["--audit"] * order.audit
    file = os.path.abspath(name) if name.endswith(".toml") else name
    return ["sweep", file, *(word for pair in given for word in pair), *stages]


def done_there(command: list[str], folder: str, most_bytes: int) -> tuple[Files, str]:
    """On a worker: the files of the run that a command makes, by their path in it.

    Args:
        folder: from which the command starts, if it is there too.

    Returns:
        No files if there is no run; and what the command said last.
    """
    with tempfile.TemporaryDirectory() as runs:
        done = subprocess.run(
            [sys.executable, "-m", "server", *command, "--runs", runs],
            cwd=folder if os.path.isdir(folder) else None,
            capture_output=True,
            text=True,
            check=False,
        )
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        paths = [file for file in Path(runs).glob("*/**/*") if file.is_file()]
        paths = [file for file in paths if not file.relative_to(runs).parts[0].endswith(".sweep")]
        if sum(file.stat().st_size for file in paths) > most_bytes:
            return {}, f"its run has more than {most_bytes:,} bytes"
        return {file.relative_to(runs).as_posix(): file.read_bytes() for file in paths}, said


def _write(files: Mapping[str, bytes], experiment: Experiment, run: Run) -> None:
    """Put a run in its place, in one step."""
    part = run.path.parent / f".{secrets.token_hex(8)}.part"
    try:
        for path, content in _within(files, run.path.name):
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_bytes(content)
        settings = (part / "experiment.toml").read_bytes()
        if settings != _as_run(experiment, Run.open(part)).to_toml().encode():
            raise RunError(f"{run.path.name}: came from the cluster with other settings than its")
        (part / origin.NAME).write_bytes(origin.mark(settings))  # it was ordered here
        part.rename(run.path)
    except OSError as error:
        raise RunError(f"{run.path}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _as_run(experiment: Experiment, run: Run) -> Experiment:
    """What a run of it says: only how many records a client has is found where these are."""
    found = experiment.data.nominal_records or run.experiment.data.nominal_records
    data = experiment.data.model_copy(update={"nominal_records": found})
    return experiment.model_copy(update={"data": data}).resolve()


def _within(files: Mapping[str, bytes], name: str) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Paths within the one run that was asked for.

    Raises:
        RunError: another's.
    """
    if sum(map(len, files.values())) > MOST_BYTES:
        raise RunError(f"{name}: more than {MOST_BYTES:,} bytes came from the cluster")
    for text, content in files.items():
        first, *rest = PurePosixPath(text).parts
        if first != name or not rest or ".." in rest:
            raise RunError(
                f"{name}: the cluster made {text[:100]!r}: does it have this privet, and the same "
                "experiment?"
            )
        yield PurePosixPath(*rest), content
