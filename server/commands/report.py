"""`privet report`: what runs and sweeps found, on one page."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from server.commands.options import Runs


class Form(StrEnum):
    """Forms of a report."""

    html = "html"
    md = "md"
    json = "json"


def report(
    subjects: Annotated[list[str], typer.Argument(help="Runs, sweeps, or 'latest'")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="File; - is stdout [report.html, or stdout]")
    ] = "",
    form: Annotated[Form, typer.Option("--format", help="html, md or json")] = Form.html,
    runs: Runs = None,
) -> None:
    """Tell what privacy cost, and whether it held: one file, made to be read by others."""
    from privacy.files import write_atomically
    from server.report import FORMATS, gather
    from server.run.directory import runs_folder

    facts = gather(subjects, runs_folder(runs), shlex.join(["privet", *sys.argv[1:]]))
    told = FORMATS[form](facts)
    target = output or ("report.html" if form is Form.html else "-")
    if target == "-":
        sys.stdout.write(told)
        return
    with write_atomically(Path(target)) as file:
        file.write(told.encode())
    print(Path(target))
