"""`privet watch`: a page that shows runs as they go."""

from pathlib import Path
from typing import Annotated

import typer

from server.garbage import often

PORT = 8471


def watch(
    runs: Annotated[
        Path | None, typer.Argument(help="Folder of runs [$PRIVET_RUNS, runs]", show_default=False)
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0 takes a free one")
    ] = PORT,
) -> None:
    """Show runs and sweeps as they go, on a page of this machine; prints its address.

    The address has a token in it, without which nobody is let in; it stays the same for a folder.
    From elsewhere: ssh -L 8471:127.0.0.1:8471 MACHINE. Nothing is written, and no run waits.
    """
    from privacy.errors import RunError
    from server.console import err
    from server.run.names import runs_folder
    from server.watch.listen import watch as serve

    folder = runs_folder(runs)

    def ready(url: str, lasting: bool) -> None:
        print(url, flush=True)
        err.print(f"watching {folder}; end it with Ctrl-C", highlight=False, soft_wrap=True)
        if not lasting:
            err.print(
                "warning: no key can be kept beside the data sets ($PRIVET_DATA), so that the "
                "address changes with each start",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )

    if runs is not None and not folder.is_dir():
        raise RunError(f"{folder}: not a folder of runs; name the one that runs are written to")
    if (folder / "experiment.toml").is_file():
        raise RunError(f"{folder}: is one run; watch the folder that it is in: {folder.parent}")
    often()
    serve(folder, port, ready)
