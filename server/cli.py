"""The command line: thin. Results on stdout, everything for people on stderr."""

import dataclasses
import json
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from privacy.errors import PrivetError

app = typer.Typer(
    name="privet",
    help="Train on data that may not leave the device, and measure what still leaks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of runs [$PRIVET_RUNS, runs]")]
Settings = Annotated[
    list[str] | None, typer.Option("-s", help="section.key=value, as often as needed")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
RunName = Annotated[str, typer.Argument(help="A run's name or path, or 'latest'")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks")] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(help="A ready experiment, or a TOML file")],
    s: Settings = None,
    name: Annotated[str, typer.Option("--name", help="Name of the run directory")] = "",
    runs: Runs = None,
) -> None:
    """Run an experiment; print the path of its run directory."""
    from server.experiment import load_experiment
    from server.launch import launch
    from server.run import runs_folder

    finished = launch(load_experiment(experiment, s), runs_folder(runs), name)
    _tell(finished.path)


@app.command()
def resume(run: RunName, runs: Runs = None) -> None:
    """Do what is left of a run that was interrupted."""
    from server.launch import resume as resume_run
    from server.run import find_run, runs_folder

    found = find_run(run, runs_folder(runs))
    resume_run(found)
    _tell(found.path)


@app.command()
def show(run: RunName, as_json: AsJson = False, runs: Runs = None) -> None:
    """What a run reached and what it spent."""
    from server.console import fact_table, out
    from server.run import find_run, runs_folder
    from server.summary import summarise

    facts = dataclasses.asdict(summarise(find_run(run, runs_folder(runs))))
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    for key in ("accuracy", "best_accuracy"):
        facts[key] = None if facts[key] is None else f"{facts[key]:.2%}"
    for key in ("epsilon", "epsilon_full_participation", "noise_multiplier"):
        facts[key] = None if facts[key] is None else f"{facts[key]:.4f}"
    out.print(fact_table("", facts))


@app.command("list")
def list_runs(as_json: AsJson = False, runs: Runs = None) -> None:
    """Runs, and the ready experiments."""
    from server.console import out
    from server.experiment import ready_experiments
    from server.run import list_runs as find_runs
    from server.run import runs_folder
    from server.summary import headline, summarise

    rows = []
    for found in find_runs(runs_folder(runs)):
        try:
            rows.append(headline(summarise(found)))
        except PrivetError as error:
            rows.append({"run": found.path.name, "status": f"damaged: {error}"})
    if as_json:
        print(json.dumps({"runs": rows, "experiments": ready_experiments()}, indent=1))
        return
    if rows:
        table = Table(*rows[0] if len(rows[0]) > 2 else ("run", "status"))
        for row in rows:
            table.add_row(*map(str, row.values()))
        out.print(table)
    ready = Table("experiment", "what it is")
    for name, title in ready_experiments().items():
        ready.add_row(name, title)
    out.print(ready)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="mnist or fashion-mnist")],
    path: Annotated[str, typer.Option(help="Folder of IDX files, for fashion-mnist")] = "",
) -> None:
    """Bring a data set into the cache, checked by SHA-256."""
    from clients.data import fetch

    print(fetch(name, path))


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """The data sets, and whether they are here."""
    from clients.data import availability
    from server.console import out

    found = availability()
    if as_json:
        print(json.dumps(found, indent=1))
        return
    table = Table("data set", "where")
    for name, where in found.items():
        table.add_row(name, where)
    out.print(table)


def _tell(path: Path) -> None:
    """The path for programs; one sentence for people."""
    from server.console import err
    from server.run import Run
    from server.summary import summarise

    facts = summarise(Run(path))
    spent = (
        "no privacy was promised"
        if facts.epsilon is None
        else f"epsilon {facts.epsilon:.3f} at delta {facts.delta:g} for each {facts.unit}"
    )
    accuracy = "" if facts.accuracy is None else f"accuracy {facts.accuracy:.2%}, "
    if facts.failures:
        accuracy += f"{facts.failures} client failures ({facts.refusals} refused), "
    err.print(
        f"{facts.dataset}, {facts.clients} client{'s' * (facts.clients > 1)}: {accuracy}{spent}",
        highlight=False,
    )
    print(path)


def main() -> None:
    """Entry point: errors in one line, exit status 2 for what the user got wrong."""
    try:
        sys.exit(app(standalone_mode=False))
    except PrivetError as error:
        _fail(error, str(error), error.exit_status)
    except Exception as error:
        # click's own usage errors come with a message and exit status 2
        status = getattr(error, "exit_code", 1)
        message = error.format_message() if hasattr(error, "format_message") else repr(error)
        _fail(error, message, status)


def _fail(error: BaseException, message: str, status: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    print(f"privet: {message}", file=sys.stderr)
    sys.exit(status)
