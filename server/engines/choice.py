"""What carries messages between the ServerApp and its clients: one of `ENGINES`, by
`[federation] engine`. The apps are the same in all; on the same seed so are the weights.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from flwr.app import Context, RecordDict

from clients.models.sources import PLACE
from clients.node.app import app as client_app
from privacy.errors import FederationFailed, Interrupted, SettingsError
from server.engines.app import app as server_app
from server.engines.submission import Submission, flower_environment, private_home
from server.experiment.experiment import Federation
from server.experiment.loading import MODEL
from server.federation.grid import CohortGrid
from server.run.directory import Run
from server.run.logs import silence

START_S = 120.0  # for a SuperLink to answer


def run_here(run: Run) -> None:
    """In this process, on a pool of threads."""
    federation = run.experiment.federation
    grid = CohortGrid(client_app, federation.clients, federation.workers or os.cpu_count() or 1)
    context = Context(
        run_id=1,
        node_id=0,
        node_config={},
        state=RecordDict(),
        run_config={"run": str(run.path), "runs": "", "experiment": ""},
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one client to a thread: faster, and the same on any machine
    try:
        with silence("flwr", "privet"):
            server_app(grid, context)
    finally:
        torch.set_num_threads(threads)


def run_on_ray(run: Run) -> None:
    """In Flower's simulation, under a SuperLink on a free port that lives as long as the run."""
    federation = run.experiment.federation
    with private_home() as home, _simulator(home, run) as address:
        link = federation.model_copy(update={"address": address, "root_certificates": ""})
        submission = Submission(run, home, link)
        submission.submit("--federation-config", f"num-supernodes={federation.clients}")
        submission.follow()


def run_on_superlink(run: Run) -> None:
    """On the SuperLink at `[federation] address`, and the devices that have joined it."""
    federation = run.experiment.federation
    require_address(federation)
    with private_home() as home:
        submission = Submission(run, home, federation)
        try:
            submission.submit()
            submission.follow()
        except KeyboardInterrupt:
            submission.stop()
            raise


def require_address(federation: Federation) -> None:
    """Refuse devices of their own without the SuperLink that they have joined.

    Raises:
        SettingsError: there is no address.
    """
    if federation.engine == "superlink" and not federation.address:
        raise SettingsError(
            "[federation] engine = 'superlink' needs address: -s federation.address=HOST:PORT; "
            "start one with: privet link"
        )


ENGINES: dict[str, Callable[[Run], None]] = {
    "cohort": run_here,
    "ray": run_on_ray,
    "superlink": run_on_superlink,
}


def carry(run: Run) -> None:
    """Do what is left of a run on its engine.

    Raises:
        Interrupted: by the user.
        FederationFailed: no client succeeded, or the engine failed.
        RunError: the run is damaged, or another process writes it.
    """
    try:
        ENGINES[run.experiment.federation.engine](run)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; go on with: privet resume {run.path.name}") from None


@contextmanager
def _simulator(home: Path, run: Run) -> Iterator[str]:
    """A SuperLink for simulations of a run; yields its address."""
    log = home / "superlink.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["flower-superlink", "--simulation", "--insecure", "--host", "127.0.0.1"]
    environment = flower_environment(home) | {PLACE: str((run.path / MODEL).resolve())}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours: it ends in order
        )
    try:
        wait_for_link(f"127.0.0.1:{port}", process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for_link(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a SuperLink listens.

    Raises:
        FederationFailed: it ended, or does not answer in time.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise FederationFailed(f"Flower's SuperLink did not start on {address}")
