"""A run's curves where others look at curves: TensorBoard's event files, an MLflow store. Each is
written by its makers' own library, which is an extra.

Rounds keep no clock: the time of one is the run's beginning and the seconds of all until then.
"""

import math
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from privacy.errors import RunError
from server.run.directory import Run
from server.run.names import age

INSTALL = "pip install 'privet[{0}]'"
MOST_PARAMS = 100  # in a batch, as MLflow takes them
MOST_VALUE = 6000  # characters of a setting, likewise

Point = tuple[int, float, dict[str, float]]  # round, seconds since 1970, figures by name


def to_tensorboard(run: Run, path: Path) -> list[str]:
    """Write a folder of event files: a scalar for each figure, and the settings as text.

    Raises:
        RunError: the library is not installed, or there is something at `path`.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise _missing("tensorboard") from None
    if path.exists():
        raise RunError(f"{path}: is there already; two writers in one folder mix their curves")
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with SummaryWriter(str(part)) as writer:
            writer.add_text("experiment", f"```toml\n{run.experiment.to_toml()}\n```")
            for step, when, figures in _points(run):
                for name, value in figures.items():
                    writer.add_scalar(name, value, step, walltime=when)
        part.rename(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [str(path), f"see: tensorboard --logdir {path}"]


def to_mlflow(run: Run, path: Path) -> list[str]:
    """Write an MLflow store, a SQLite file, or one more run into one that is there.

    Raises:
        RunError: the library is not installed, or cannot write there.
    """
    try:
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise _missing("mlflow") from None
    store = f"sqlite:///{path.absolute()}"
    try:
        client = MlflowClient(tracking_uri=store)
        title = run.experiment.title
        found = client.get_experiment_by_name(title)
        place = found.experiment_id if found else client.create_experiment(title)
        begun = round(age(run.environment, "")[0] * 1000)
        told = client.create_run(place, start_time=begun, run_name=run.path.name).info.run_id
        settings = [Param(k, v[:MOST_VALUE]) for k, v in _flat(run.experiment.model_dump())]
        for start in range(0, len(settings), MOST_PARAMS):
            client.log_batch(told, params=settings[start : start + MOST_PARAMS])
        when = begun / 1000
        for step, when, figures in _points(run):
            at = round(when * 1000)
            client.log_batch(told, [Metric(k, v, at, step) for k, v in figures.items()])
        client.set_terminated(told, end_time=round(when * 1000))
    except (MlflowException, OSError) as error:
        raise RunError(f"{path}: cannot be written: {str(error).splitlines()[0]}") from None
    return [str(path), f"see: mlflow ui --backend-store-uri {store}"]


def _missing(name: str) -> RunError:
    return RunError(f"--to {name}: {name} is not installed; {INSTALL.format(name)}")


def _points(run: Run) -> Iterator[Point]:
    """What each round reached and cost; what is no number has no place on a curve."""
    when = age(run.environment, "")[0]
    for record in run.rounds:
        when += record.seconds
        told = {
            "accuracy": record.accuracy,
            "loss": record.loss,
            "epsilon": record.epsilon,
            "seconds": record.seconds,
            "learning_rate": record.learning_rate,
            "failed": float(sum(c.failure is not None for c in record.clients)),
            **record.figures,
        }
        yield (
            record.round,
            when,
            {k: v for k, v in told.items() if v is not None and math.isfinite(v)},
        )


def _flat(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Every setting by its dotted key."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", str(value)
