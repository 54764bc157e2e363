"""`privet statement`: the paper on a run that a data-protection officer files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from server.commands.options import RunName, Runs
from server.commands.report import Form


def statement(
    run: RunName,
    output: Annotated[str, typer.Option("--output", "-o", help="statement.html; - is stdout")] = "",
    form: Annotated[Form, typer.Option("--format", help="html, md or json")] = Form.html,
    purpose: Annotated[str, typer.Option("--purpose", help="What the model is for")] = "",
    controller: Annotated[str, typer.Option("--controller", help="Who answers for it")] = "",
    runs: Runs = None,
) -> None:
    """State what a run promises, by which means, and with what evidence; and what is missing."""
    from privacy.files import write_atomically
    from server.report.statement import FORMS, read_statement
    from server.run.directory import find_run, runs_folder

    told = read_statement(find_run(run, runs_folder(runs)), purpose, controller)
    content = FORMS[form](told).encode()
    target = output or ("statement.html" if form is Form.html else "-")
    if target == "-":  # the same bytes as in a file, whatever the terminal's encoding
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    with write_atomically(Path(target)) as file:
        file.write(content)
    print(Path(target), flush=True)
