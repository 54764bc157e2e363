"""`privet export`: a trained model in a form that others read."""

from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import SettingsError
from privacy.settings import suggest
from server.commands.options import RunName, Runs, Trust, open_run


def export(
    run: RunName,
    to: Annotated[str, typer.Option("--to", help="onnx, torch or card")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it")] = None,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Write a run's model as others read it, checked against its own answers."""
    from server.console import err
    from server.export import TARGETS

    if to not in TARGETS:
        raise SettingsError(f"--to {to!r}: unknown{suggest(to, TARGETS)}")
    write, ending = TARGETS[to]
    found = open_run(run, runs, trust)
    path, *told = write(found, output or Path(f"{found.path.name}{ending}"))
    for line in told:
        err.print(line, highlight=False)
    print(path, flush=True)
