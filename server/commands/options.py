"""Options that several commands share."""

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from click.core import ParameterSource

from privacy.errors import SettingsError

if TYPE_CHECKING:
    from server.run.directory import Run

Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of runs [$PRIVET_RUNS, runs]")]
Settings = Annotated[
    list[str] | None, typer.Option("-s", help="section.key=value, as often as needed")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
AsEvents = Annotated[
    bool, typer.Option("--json", help="On stdout, a JSON object for each round and the end")
]
RunName = Annotated[str, typer.Argument(help="A run's name or path, or 'latest'")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Read the data, and run the model.py, of a run from elsewhere"),
]


class Tasks(StrEnum):
    """What a model is to say of a record: [data] task."""

    CLASSES, LABELS, NUMBER, ITSELF = "classes", "labels", "number", "itself"


Task = Annotated[Tasks, typer.Option("--task", help="What a model is to say of a record")]
Scheme = Annotated[str, typer.Option("--scheme", help="ckks or boolean")]


def open_run(name: str, runs: Path | None, trust: bool) -> "Run":
    """The run of that name, whose data a command is about to read.

    Raises:
        RunError: there is none, or it came from elsewhere and names a folder of data or brings a
            model of its own; or that is not the file which the run began with.
    """
    from server.run.directory import find_run, runs_folder
    from server.run.origin import admit_model, require_trust

    found = find_run(name, runs_folder(runs))
    require_trust(found.path, found.experiment.data, trust)
    admit_model(found.path, found.experiment.model, trust)
    return found


def finite(value: float | None) -> float | None:
    """A callback of options: a range that click checks lets nan pass, which no limit then stops.

    Raises:
        BadParameter: it is no number, or infinite.
    """
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def refuse_idle(reasons: Mapping[str, str]) -> None:
    """Refuse an option of the command line that would change nothing.

    Args:
        reasons: by the name of a parameter, why it would not; empty where it does.

    Raises:
        SettingsError: names the first that was given.
    """
    context = click.get_current_context(silent=True)
    for name, reason in reasons.items():
        given = context and context.get_parameter_source(name)
        if reason and given is ParameterSource.COMMANDLINE:
            raise SettingsError(f"--{name.replace('_', '-')}: would change nothing: {reason}")
