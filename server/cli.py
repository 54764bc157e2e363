"""The command line: thin. Results on stdout, everything for people on stderr."""

import io
import os
import sys
import traceback
from typing import Annotated

import typer

from privacy.errors import PrivetError, SettingsError
from privacy.text import BRIEF
from server import garbage
from server.commands import (
    attack,
    audit,
    beginning,
    cost,
    data,
    deploy,
    invert,
    learn,
    report,
    runs,
    sweep,
    watch,
)
from server.commands.trained import evaluate, export, extract, infer, serve, statement

app = typer.Typer(
    name="privet",
    help="Train on data that may not leave the device, and measure what still leaks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
keys_app = typer.Typer(help="Certificates and node keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

app.command()(beginning.new)
app.command()(beginning.plan)
app.command()(runs.run)
app.command()(runs.resume)
app.command()(runs.show)
app.command()(evaluate.evaluate)
app.command()(extract.extract)
app.command()(export.export)
app.command("list")(runs.list_runs)
app.command()(cost.cost)
app.command()(attack.attack)
app.command()(audit.audit)
app.command()(infer.infer)
app.command()(serve.serve)
app.command()(learn.learn)
app.command("serve-learning")(learn.serve_learning)
app.command()(report.report)
app.command()(statement.statement)
app.command()(report.reference)
app.command()(sweep.sweep)
app.command()(watch.watch)
app.command()(invert.invert)
data_app.command("fetch")(data.fetch)
app.command()(deploy.link)
app.command()(deploy.node)
app.command("ledger")(deploy.show_ledger)
data_app.command("list")(data.list_data)
data_app.command("check")(data.check)
data_app.command("describe")(data.describe)
data_app.command("split")(data.split)
keys_app.command("new")(deploy.new_keys)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks")] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point: errors in one line, exit status 2 for what the user got wrong."""
    garbage.seldom()
    for stream in (sys.stdout, sys.stderr):  # a sign that a terminal lacks is spelled out
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _require_streams()
        _require_lines(sys.argv[1:])
        status = app(standalone_mode=False)
        sys.stdout.flush()  # while what goes wrong can still be told
        sys.exit(status)
    except BrokenPipeError:  # whoever reads has seen enough: `privet list | head -1`
        _drop_stdout()
        sys.exit(1)
    except PrivetError as error:
        _fail(error, str(error), error.exit_status)
    except MemoryError as error:
        _fail(error, f"out of memory: {str(error) or 'ask for less at once'}", 1)
    except OSError as error:  # of a file that no command looks after: a log, a lock
        where = error.filename or "a file, or the output"
        _fail(error, f"{where}: {error.strerror or error}", 1)
    except Exception as error:
        # click's own usage errors come with a message and exit status 2
        status = getattr(error, "exit_code", 1)
        message = error.format_message() if hasattr(error, "format_message") else repr(error)
        _fail(error, message, status)


def _require_lines(words: list[str]) -> None:
    """Refuse arguments of several lines: an error repeats them, in its one.

    Raises:
        SettingsError: names the first.
    """
    for word in words:
        if word.splitlines() not in ([word], []):
            raise SettingsError(f"{word[:BRIEF]!a}: has a line break in it; take it out")


def _require_streams() -> None:
    """Have something at the three numbers of the standard streams: a file of a run that got one of
    them would be written into by whatever prints.

    Raises:
        SettingsError: stdout is closed, and results would be lost.
    """
    told = sys.stdout is not None
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends
    if not told:
        raise SettingsError("stdout is closed: results would be lost; give it a file, or /dev/null")


def _drop_stdout() -> None:
    """Let nothing more be tried with what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fail(error: BaseException, message: str, status: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
    try:
        print(f"privet: {message}", file=sys.stderr, flush=True)
    except OSError:  # nobody can be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit(status)
