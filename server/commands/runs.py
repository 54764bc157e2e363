"""`privet run`, `resume`, `show`, `list`."""

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.documents import to_json
from server.commands.options import AsEvents, AsJson, RunName, Runs, Settings, Trust, open_run

if TYPE_CHECKING:
    from server.experiment.experiment import Experiment
    from server.run.directory import Run


def run(
    experiment: Annotated[str, typer.Argument(help="A ready experiment, or a TOML file")],
    s: Settings = None,
    name: Annotated[str, typer.Option("--name", help="Name of the run directory")] = "",
    as_json: AsEvents = False,
    runs: Runs = None,
) -> None:
    """Run an experiment; print the path of its run directory."""
    from clients.data.sets import load, load_ahead
    from server.experiment.loading import load_experiment

    asked = load_experiment(experiment, s)
    loaded = load_ahead(asked.data)
    from clients.training.outline import outline
    from server.console import err
    from server.engines.launch import launch
    from server.experiment.plans import device_of
    from server.run.directory import runs_folder

    loaded()
    if told := device_of(asked):
        err.print(f"device: {told}", highlight=False, soft_wrap=True)
    with _telling(as_json, asked):
        finished = launch(asked, runs_folder(runs), name)
    if finished.experiment.budget.unit == "record":
        net = outline(finished.experiment, load(finished.experiment.data).form)
        if net.gradients != "compiled":
            err.print(f"gradients: {net.gradients}", highlight=False, soft_wrap=True)
        if net.norms:
            err.print(f"model: {net.norms}", highlight=False, soft_wrap=True)
    _tell(finished.path, as_json)


def resume(
    run: RunName, as_json: AsEvents = False, runs: Runs = None, trust: Trust = False
) -> None:
    """Do what is left of a run that was interrupted."""
    from server.engines.launch import resume as resume_run

    found = open_run(run, runs, trust)
    with _telling(as_json, found.experiment):
        resume_run(found)
    _tell(found.path, as_json)


def show(run: RunName, as_json: AsJson = False, runs: Runs = None) -> None:
    """What a run reached, what it spent, and what attacks found."""
    from server.console import fact_table, out
    from server.run.directory import find_run, runs_folder
    from server.run.summary import summarise

    found = find_run(run, runs_folder(runs))
    facts = dataclasses.asdict(summarise(found)) | _reached(found) | _leaks(found)
    if as_json:
        print(to_json(facts, indent=1))
        return
    for key in ("accuracy", "best_accuracy"):
        facts[key] = None if facts[key] is None else f"{facts[key]:.2%}"
    for key in ("epsilon", "epsilon_full_participation", "noise_multiplier"):
        facts[key] = None if facts[key] is None else f"{facts[key]:.4f}"
    facts["warnings"] = "; ".join(facts["warnings"]) or None
    facts["outside"] = "; ".join(facts["outside"]) or None
    out.print(fact_table("", facts))


def _reached(found: "Run") -> dict[str, str]:
    """Figures of the last model on the test set, in a line; what brings them, if there are none."""
    from server.report.facts.reached import reached
    from server.report.facts.values import UNREADABLE, why
    from server.report.words.reached import in_a_line
    from server.run.merit import NAME

    if not (told := found.kept(NAME)):
        tested = found.rounds and found.data_told.get("test_records") != "0"
        name = found.path.name
        return {"test figures": f"not recorded: privet evaluate {name}"} if tested else {}
    try:
        return {"test figures": in_a_line(reached(told, len(found.rounds)))}
    except UNREADABLE as error:
        remedy = f"privet evaluate {found.path.name}"
        return {"test figures": f"{NAME} cannot be read: {why(error)}; {remedy}"}


def _leaks(found: "Run") -> dict[str, str]:
    """What `privet attack` found, a line each; nothing before."""
    told = found.leakage
    if not told:
        return {}
    from server.report.facts.leaks import leakage
    from server.report.facts.values import UNREADABLE, why
    from server.report.words.leaks import leaks_of

    try:
        return leaks_of(leakage(told, lambda picture: b""))
    except UNREADABLE as error:
        return {"attacked": f"leakage.json cannot be read: {why(error)}; attack the run again"}


def list_runs(as_json: AsJson = False, runs: Runs = None) -> None:
    """Runs, and the ready experiments."""
    from server.console import Columns, out
    from server.experiment.named import ready_experiments
    from server.run.names import runs_folder
    from server.watch.headlines import headlines

    rows = headlines(runs_folder(runs))
    if as_json:
        print(to_json({"runs": rows, "experiments": ready_experiments()}, indent=1))
        return
    if rows:
        headings = max(rows, key=len)  # of a damaged run less is known
        table = Columns(*headings)
        for row in rows:
            table.add_row(*(str(row.get(heading, "")) for heading in headings))
        out.print(table)
    ready = Columns("experiment", "what it is")
    for name, title in ready_experiments().items():
        ready.add_row(name, title)
    out.print(ready)


def _telling(as_json: bool, experiment: "Experiment") -> AbstractContextManager[None]:
    from server.console import told_as_events

    return told_as_events(experiment.federation.rounds) if as_json else nullcontext()


def _tell(path: Path, as_json: bool) -> None:
    """The path for programs, or the last event; one sentence for people."""
    from server.console import err
    from server.run.directory import Run
    from server.run.summary import exposes, summarise

    found = Run(path)
    facts = summarise(found)
    spent = (
        "no privacy was promised"
        if facts.epsilon is None
        else f"epsilon {facts.epsilon:.3f} at delta {facts.delta:g} for each {facts.unit} "
        f"({facts.neighbours})"
        + f"; {facts.caveat}" * bool(facts.caveat)
        + f"; outside it: {facts.outside[0]}" * exposes(facts)
    )
    reached = f"{told}, " if (told := _reached(found).get("test figures")) else ""
    if facts.accuracy is not None:
        reached = f"accuracy {facts.accuracy:.2%}, "
    if facts.failures:
        reached += f"{facts.failures} client failures ({facts.refusals} refused), "
    err.print(
        f"{facts.dataset}, {facts.clients} client{'s' * (facts.clients > 1)}: {reached}{spent}",
        highlight=False,
        soft_wrap=True,
    )
    for warning in facts.warnings:
        err.print(f"warning: {warning}", highlight=False, style="yellow", soft_wrap=True)
    print(to_json({"event": "end", **dataclasses.asdict(facts)}) if as_json else path)
