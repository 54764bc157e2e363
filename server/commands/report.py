"""`privet report`: what runs and sweeps found, on one page; `privet reference`: what there is."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import click
import typer

from privacy.errors import PrivetError
from server.commands.options import Runs


class Form(StrEnum):
    """Forms of a report."""

    html = "html"
    md = "md"
    json = "json"


class Incomplete(PrivetError):
    """The page is written, and something that it was to tell of failed or is not there."""


def report(
    subjects: Annotated[list[str], typer.Argument(help="Runs, sweeps, or 'latest'")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="File; - is stdout [report.html, or stdout]")
    ] = "",
    form: Annotated[Form, typer.Option("--format", help="html, md or json")] = Form.html,
    complete: Annotated[
        bool, typer.Option("--complete", help="Exit status 1 if a cell failed or is not there")
    ] = False,
    runs: Runs = None,
) -> None:
    """Tell what privacy cost, and whether it held: one file, made to be read by others."""
    from privacy.files import write_atomically
    from server.report import gather, is_there, to_html, to_json, to_markdown
    from server.run.directory import runs_folder

    folder = runs_folder(runs)
    absent = [name for name in subjects if complete and not is_there(name, folder)]
    there = [name for name in subjects if name not in absent] or subjects
    facts = gather(there, folder, shlex.join(["privet", *sys.argv[1:]]))
    told = {"html": to_html, "md": to_markdown, "json": to_json}[form](facts)
    target = output or ("report.html" if form is Form.html else "-")
    if target == "-":  # the same bytes as in a file, whatever the terminal's encoding
        sys.stdout.flush()
        sys.stdout.buffer.write(told.encode())
        sys.stdout.flush()
    else:
        with write_atomically(Path(target)) as file:
            file.write(told.encode())
        print(Path(target), flush=True)
    failed = [*facts.unfinished, *(f"{name} (is not there)" for name in absent)]
    if complete and failed:
        raise Incomplete(f"not complete: {'; '.join(failed)}")


def reference(
    context: typer.Context,
    output: Annotated[str, typer.Option("--output", "-o", help="File; - is stdout")] = "-",
) -> None:
    """Every command, and every function for code of your own, from their docstrings; Markdown."""
    from privacy.files import write_atomically
    from server.reference import to_markdown

    root = context.find_root().command
    assert isinstance(root, click.Group)
    told = to_markdown(root)
    if output == "-":
        print(told, end="")
        return
    with write_atomically(Path(output)) as file:
        file.write(told.encode())
    print(Path(output))
