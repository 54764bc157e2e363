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
    from server.adversary.strangers.finished import Subject
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


Classes = Annotated[
    int | None,
    typer.Option("--classes", min=1, max=65_536, help="Outputs of a model; 10 of cost"),
]
Members = Annotated[
    Path | None,
    typer.Option("--members", help="Of attack or audit model: npz of x, y: was trained on"),
]
NonMembers = Annotated[
    Path | None, typer.Option("--non-members", help="The same of records that it never saw")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Of FILE.py:NAME: FILE.safetensors")
]
References = Annotated[
    list[Path] | None,
    typer.Option("--reference", help="The same of a model that saw none of them; may be repeated"),
]
Task = Annotated[Tasks, typer.Option("--task", help="What a model is to say of a record")]
Host = Annotated[str, typer.Option("--host", help="Interface to listen on")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that compute")]
Certificate = Annotated[Path | None, typer.Option("--certificate", help="PEM file, for TLS")]
PrivateKey = Annotated[Path | None, typer.Option("--key", help="The certificate's private key")]
Tokens = Annotated[
    Path | None,
    typer.Option("--tokens", help="File of lines NAME TOKEN; others are sent away"),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Beyond loopback without TLS or without tokens")
]
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


def finished(
    model: str,
    members: Path | None,
    non_members: Path | None,
    weights: Path | None,
    references: list[Path] | None,
    task: Tasks,
    classes: int | None,
    settings: list[str] | None,
) -> "Subject":
    """A finished model that privet did not train, and records for it.

    Raises:
        SettingsError: the records are not named.
    """
    from server.adversary.strangers.finished import Subject

    if members is None or non_members is None:
        lacking = "--members" if members is None else "--non-members"
        raise SettingsError(f"{model}: say {lacking} FILE.npz, with x and y of such records")
    return Subject(
        model, members, non_members, weights, references or (), task.value, classes, settings or ()
    )


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
        if context and reason and given is ParameterSource.COMMANDLINE:
            told = next(one.opts[0] for one in context.command.params if one.name == name)
            raise SettingsError(f"{told}: would change nothing: {reason}")
