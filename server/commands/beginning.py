"""`privet new` and `plan`: before anything is trained."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from privacy.documents import to_json
from server.commands.options import AsJson, Settings, Task, Tasks


def new(
    name: Annotated[str, typer.Argument(help="Of the experiment: NAME.toml is written here")],
    data: Annotated[Path, typer.Option(help="A table, arrays, or a folder or archive of files")],
    model: Annotated[str, typer.Option(help="A ready model, or FILE.py:NAME")] = "",
    target: Annotated[str, typer.Option(help="The column that a model is to say, or a,b")] = "",
    person: Annotated[str, typer.Option(help="The column that says whose a record is")] = "",
    task: Task = Tasks.CLASSES,
) -> None:
    """Write a first experiment and a draft of a schema for records of your own."""
    from server.experiment.beginning import begin

    for path in begin(name, data, model, target, person, task.value):
        print(path)


def plan(
    experiment: Annotated[str, typer.Argument(help="A ready experiment, or a TOML file")],
    s: Settings = None,
    as_json: AsJson = False,
) -> None:
    """What an experiment will promise and need, and what is doubtful; trains nothing."""
    from server.console import fact_table, out
    from server.experiment.loading import load_experiment
    from server.experiment.plans import plan as make_plan

    found = make_plan(load_experiment(experiment, s))
    if as_json:
        print(to_json(asdict(found), indent=1))
        return
    out.print(fact_table("", found.facts))
    for doubt in found.doubts:
        out.print(f"doubt: {doubt}", soft_wrap=True)
