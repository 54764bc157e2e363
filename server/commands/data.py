"""`privet data fetch` and `privet data list`."""

import json
from typing import Annotated

import typer
from rich.table import Table

from server.commands.options import AsJson


def fetch(
    name: Annotated[str, typer.Argument(help="mnist or fashion-mnist")],
    path: Annotated[str, typer.Option(help="Folder of IDX files, for fashion-mnist")] = "",
) -> None:
    """Bring a data set into the cache, checked by SHA-256."""
    from clients.data import fetch as fetch_data

    print(fetch_data(name, path))


def list_data(as_json: AsJson = False) -> None:
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
