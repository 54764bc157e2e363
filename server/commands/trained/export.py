"""`privet export`: a trained model in a form that others read."""

from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import SettingsError
from privacy.text import suggest
from server.commands.options import RunName, Runs, Trust, open_run

C = "c"


def export(
    run: RunName,
    to: Annotated[
        str, typer.Option("--to", help="onnx, torch, card, tensorboard, mlflow; c for a board")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it")] = None,
    chip: Annotated[str, typer.Option("--chip", help="Of --to c: stm32h743, ...")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Of --to c: compile, emulate and compare bits first")
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Of --to c: audit what the emulated board releases")
    ] = False,
    answers: Annotated[
        bool, typer.Option("--answers", help="Of --to c: answers alone, no private step")
    ] = False,
    kernels: Annotated[
        str, typer.Option("--kernels", help="Of --answers: own, or cmsis-nn=DIR, your copy of it")
    ] = "",
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Write a run's model as others read it, checked against its answers; or its curves."""
    from server.console import err
    from server.export import TARGETS

    if to not in (*TARGETS, C):
        raise SettingsError(f"--to {to!r}: unknown{suggest(to, [*TARGETS, C])}")
    found = open_run(run, runs, trust)
    if to == C:
        from server.commands.trained.firmware import answers_to_c, to_c

        where = output or Path(f"{found.path.name}-c"), chip or "stm32h743"
        if answers and audit:
            raise SettingsError("--audit: answers release nothing that is trained; leave it out")
        if kernels and not answers:
            raise SettingsError(
                "--kernels: a private step has its own, which were audited; add --answers"
            )
        if answers:
            answers_to_c(found, *where, check, kernels)
        else:
            to_c(found, *where, check, audit)
        return
    given = {"--chip": chip, "--check": check, "--audit": audit, "--answers": answers}
    given |= {"--kernels": kernels}
    if unread := [name for name, value in given.items() if value]:
        raise SettingsError(f"{unread[0]}: is of --to c; leave it out")
    write, ending = TARGETS[to]
    path, *told = write(found, output or Path(f"{found.path.name}{ending}"))
    for line in told:
        err.print(line, highlight=False)
    print(path, flush=True)
