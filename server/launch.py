"""Experiment -> Run, in this process: the ServerApp and the ClientApp on the cohort engine."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from flwr.app import Context, RecordDict

from clients.app import app as client_app
from clients.records import records
from privacy.errors import Interrupted
from server.app import app as server_app
from server.app import create_run
from server.experiment import Experiment
from server.grid import CohortGrid
from server.run import Run


def launch(experiment: Experiment, runs: Path, name: str = "") -> Run:
    """Create a run and run it to its end.

    Raises:
        UserError: before anything is left on disk.
        FederationFailed: the run is kept, and says why.
    """
    records(experiment.data, experiment.model)  # fixed features are computed on all cores, once
    run = create_run(experiment, runs, name)
    resume(run)
    return run


def resume(run: Run) -> None:
    """Do what is left of a run. The final weights are those of an undisturbed run.

    Raises:
        Interrupted: by the user.
        FederationFailed: no client succeeded.
        RunError: the run is damaged, or another process writes it.
    """
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
        with _silence("flwr", "privet"):
            server_app(grid, context)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; go on with: privet resume {run.path.name}") from None
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _silence(*names: str) -> Iterator[None]:
    """Keep these loggers off the terminal: people get a progress bar, and log.txt has it all."""
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
