"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of runs [$PRIVET_RUNS, runs]")]
Settings = Annotated[
    list[str] | None, typer.Option("-s", help="section.key=value, as often as needed")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
RunName = Annotated[str, typer.Argument(help="A run's name or path, or 'latest'")]
Scheme = Annotated[str, typer.Option("--scheme", help="ckks or boolean")]
