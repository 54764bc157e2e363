"""`privet extract`: the net for one device, out of a run that trained many."""

from typing import Annotated

import typer

from privacy.documents import to_json
from server.commands.options import AsJson, RunName, Runs, Trust, finite, open_run


def extract(
    run: RunName,
    chip: Annotated[str, typer.Option("--chip", help="A ready chip or a TOML file")],
    latency_ms: Annotated[
        float, typer.Option("--latency-ms", min=0, callback=finite, help="Of an inference, at most")
    ] = 0.0,
    memory_kb: Annotated[
        float, typer.Option("--memory-kb", min=0, callback=finite, help="At its peak, at most")
    ] = 0.0,
    name: Annotated[str, typer.Option("--name", help="Of the new run [RUN-CHIP]")] = "",
    as_json: AsJson = False,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Cut the best net that fits a chip out of a run that trained many; no epsilon is spent."""
    from clients.chip import load_chip
    from server.console import err
    from server.extract import extract as cut_out
    from server.extract.candidates import Limits
    from server.run.directory import runs_folder

    found = open_run(run, runs, trust)
    limits = Limits(latency_ms, memory_kb)
    made = cut_out(found, load_chip(chip), chip, limits, runs_folder(runs), name)
    facts = made.facts
    if as_json:
        print(to_json(facts | {"run": str(made.run.path)}, indent=1))
        return
    needs, nets = facts["needs"], facts["nets"]
    err.print(
        f"{facts['net']}: accuracy {facts['accuracy']:.2%}, {needs['latency_ms']:.4g} ms, "
        f"{needs['memory_kb']:.4g} kB on {chip}; {nets['fit']} of {nets['priced']} nets fit, "
        f"{nets['asked']} were asked; no epsilon spent",
        highlight=False,
    )
    print(made.run.path, flush=True)
