"""`privet report`: what runs and sweeps found, on one page; `privet reference`: what there is."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from privacy.errors import PrivetError, SettingsError
from privacy.files import is_file, write_atomically
from server.commands.options import Runs

if TYPE_CHECKING:
    from server.report import Facts, Since


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
        str,
        typer.Option("--output", "-o", help="report.html, report.pdf; - is stdout"),
    ] = "",
    form: Annotated[Form, typer.Option("--format", help="html, md or json")] = Form.html,
    complete: Annotated[
        bool, typer.Option("--complete", help="Exit status 1 if a cell failed or is not there")
    ] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print the page, by the Chromium that is installed")
    ] = False,
    before: Annotated[
        str, typer.Option("--since", help="A report (.html, .json) or a run to compare with")
    ] = "",
    runs: Runs = None,
) -> None:
    """Tell what privacy cost, and whether it held: one file, made to be read by others."""
    from server.report import gather, is_there, to_html, to_json, to_markdown, to_pdf
    from server.run.directory import runs_folder

    if pdf and form is not Form.html:
        raise SettingsError(f"--pdf prints the page: leave out --format {form.value}")
    folder = runs_folder(runs)
    if before and is_file(Path(subjects[0])):
        print(_of_two(subjects, before, form, output), end="", flush=True)
        return
    absent = [name for name in subjects if complete and not is_there(name, folder)]
    there = [name for name in subjects if name not in absent] or subjects
    facts = gather(there, folder, shlex.join(["privet", *sys.argv[1:]]))
    forms = {Form.html: to_html, Form.md: to_markdown, Form.json: to_json}
    page = forms[form](facts, _since(before, facts, folder) if before else None)
    told = to_pdf(page) if pdf else page.encode()
    target = output or ("report.pdf" if pdf else "report.html" if form is Form.html else "-")
    if target == "-":  # the same bytes as in a file, whatever the terminal's encoding
        sys.stdout.flush()
        sys.stdout.buffer.write(told)
        sys.stdout.flush()
    else:
        with write_atomically(Path(target)) as file:
            file.write(told)
        print(Path(target), flush=True)
    failed = [*facts.unfinished, *(f"{name} (is not there)" for name in absent)]
    if complete and failed:
        raise Incomplete(f"not complete: {'; '.join(failed)}")


def reference(
    context: typer.Context,
    output: Annotated[str, typer.Option("--output", "-o", help="File; - is stdout")] = "-",
) -> None:
    """Every command, and every function for code of your own, from their docstrings; Markdown."""
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


def _of_two(subjects: list[str], before: str, form: Form, output: str) -> str:
    """What changed from one report's file to another's, as Markdown: their runs are not needed."""
    from server.report import changes_to_markdown, read_marks, since

    if len(subjects) > 1 or form is Form.json or output:
        raise SettingsError("of two reports, what changed is printed: give one, and its --since")
    old = Path(before)
    return changes_to_markdown(since(old.name, read_marks(old), read_marks(Path(subjects[0]))))


def _since(name: str, facts: "Facts", folder: Path) -> "Since":
    """What changed since the report, or the run, of that name."""
    from server.report import gather, marks_of, read_marks, since

    path = Path(name)
    before = read_marks(path) if is_file(path) else marks_of(gather([name], folder).runs)
    return since(path.name, before, marks_of(facts.runs))
