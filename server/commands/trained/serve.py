"""`privet serve`: encrypted inference as a service."""

from pathlib import Path
from typing import Annotated

import typer

from server.commands.options import (
    Certificate,
    Host,
    Insecure,
    PrivateKey,
    RunName,
    Runs,
    Scheme,
    Tokens,
    Trust,
    Workers,
    finite,
    open_run,
)
from server.garbage import often


def serve(
    run: RunName,
    scheme: Scheme = "ckks",
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8470,
    workers: Workers = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each")] = 1,
    timeout: Annotated[
        float,
        typer.Option(
            min=0, callback=finite, help="Seconds an answer may take; 0: what the scheme needs"
        ),
    ] = 0.0,
    certificate: Certificate = None,
    key: PrivateKey = None,
    tokens: Tokens = None,
    insecure: Insecure = False,
    answers_per_day: Annotated[
        int, typer.Option(min=0, help="To each client, images; 0: no limit")
    ] = 0,
    keys_mb: Annotated[
        int, typer.Option(min=1, help="Megabytes of clients' keys to keep, at most")
    ] = 2048,
    scratch_folder: Annotated[
        Path | None, typer.Option("--scratch", help="For what clients send; else in memory")
    ] = None,
    proxy: Annotated[
        list[str] | None, typer.Option(help="Address or network of a proxy, which tells for whom")
    ] = None,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Answer encrypted questions of a run's model; prints its URL, as JSON, when it is ready."""
    import tempfile

    from server.console import err
    from server.inference.gate.stores import roomiest, scratch
    from server.inference.limits import ANSWER_S, Limits
    from server.inference.listen import Ending, ended_in_order, guard, listen
    from server.inference.program import compile_run, require_scheme
    from server.inference.service import Service

    require_scheme(scheme)
    tls, known = guard(host, certificate, key, tokens, insecure)
    found = open_run(run, runs, trust)
    limits = Limits(
        workers=workers,
        threads=threads,
        answer_s=timeout or ANSWER_S[scheme],
        answers_per_day=answers_per_day,
        stored_keys_bytes=keys_mb << 20,
    )
    place = scratch_folder or roomiest(limits.stored_keys_bytes + limits.in_flight_bytes)
    with (
        ended_in_order(),
        scratch("privet-model-", Path(tempfile.gettempdir())) as folder,
        scratch("privet-keys-", place) as theirs,
    ):
        compile_run(found, scheme, folder)
        ending = Ending()
        service = Service(folder, theirs, limits, known, ending)
        err.print(f"{scheme} service of {found.path.name}; end it with Ctrl-C", highlight=False)
        app, proxies = service.app(), proxy or []
        often()
        listen(app, host, port, limits, tls=tls, proxies=proxies, ending=ending)
