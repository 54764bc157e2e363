"""Experiment -> Run: made here, carried out by the engine that it names."""

from pathlib import Path

from clients.training.gpu import require_here
from clients.training.records import records
from server.engines.app import create_run
from server.engines.choice import carry, require_address
from server.experiment.experiment import Experiment
from server.run.directory import Run


def launch(experiment: Experiment, runs: Path, name: str = "") -> Run:
    """Create a run and run it to its end.

    Raises:
        UserError: before anything is left on disk.
        FederationFailed: the run is kept, and says why.
    """
    _require_gpu(experiment)
    require_address(experiment.federation)
    records(experiment.data, experiment.model)  # fixed features are computed on all cores, once
    run = create_run(experiment, runs, name)
    resume(run)
    return run


def resume(run: Run) -> None:
    """Do what is left of a run. The final weights are those of an undisturbed run.

    Raises:
        Interrupted: by the user.
        FederationFailed: no client succeeded, or the engine failed.
        RunError: the run is damaged, or another process writes it.
        SettingsError: it is computed on a GPU, and none is here.
    """
    _require_gpu(run.experiment, str(run.path / "experiment.toml"))
    carry(run)


def _require_gpu(experiment: Experiment, where: str = "") -> None:
    if experiment.federation.engine != "superlink":
        require_here(experiment, where)
