"""`privet serve`: encrypted inference as a service."""

from typing import Annotated

import typer

from server.commands.options import RunName, Runs, Scheme


def serve(
    run: RunName,
    scheme: Scheme = "ckks",
    host: Annotated[str, typer.Option(help="Interface to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 8470,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compute")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds an answer may take")] = 30.0,
    runs: Runs = None,
) -> None:
    """Answer encrypted questions of a run's model; prints its URL, as JSON, when it is ready."""
    import tempfile
    from pathlib import Path

    from server.console import err
    from server.inference.listen import ended_in_order, listen
    from server.inference.program import compile_run
    from server.inference.service import Limits, Service
    from server.run.directory import find_run, runs_folder

    found = find_run(run, runs_folder(runs))
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="privet-model-") as folder:
        compile_run(found, scheme, Path(folder))
        service = Service(Path(folder), Limits(workers=workers, threads=threads, answer_s=timeout))
        err.print(f"{scheme} service of {found.path.name}; end it with Ctrl-C", highlight=False)
        listen(service.app(), host, port)
