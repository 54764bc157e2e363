"""`privet new` and `plan`: before anything is trained."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.documents import to_json
from server.commands.cost import Chips, held, si
from server.commands.options import AsJson, Settings, Task, Tasks

if TYPE_CHECKING:
    from server.cost import Report
    from server.cost.here import Here
    from server.experiment.experiment import Experiment


def new(
    name: Annotated[str, typer.Argument(help="Of the experiment: NAME.toml is written here")],
    data: Annotated[Path, typer.Option(help="A table, arrays, or a folder or archive of files")],
    model: Annotated[str, typer.Option(help="A ready model, or FILE.py:NAME")] = "",
    target: Annotated[str, typer.Option(help="The column that a model is to say, or a,b")] = "",
    person: Annotated[str, typer.Option(help="The column that says whose a record is")] = "",
    task: Task = Tasks.CLASSES,
) -> None:
    """Write a first experiment and a draft of a schema for records of your own."""
    from server.experiment.beginning import begin

    for path in begin(name, data, model, target, person, task.value):
        print(path)


def plan(
    experiment: Annotated[str, typer.Argument(help="A ready experiment, or a TOML file")],
    here: Annotated[bool, typer.Option("--here", help="Time a step on this machine too")] = False,
    chip: Chips = None,
    s: Settings = None,
    as_json: AsJson = False,
) -> None:
    """What an experiment will promise and need, and what is doubtful; trains nothing."""
    from server.console import fact_table, out
    from server.experiment.loading import load_experiment
    from server.experiment.plans import device_of, plan_of
    from server.experiment.prepared import prepare, sketch

    there = _on(chip or ())
    asked = load_experiment(experiment, s)
    ready = sketch(asked)
    found = plan_of(ready, device_of(asked))
    if here:
        from server.cost.here import measure_here

        found.facts["here"] = _here(measure_here(prepare(asked)))
    found.facts.update(there(ready.experiment))
    if as_json:
        print(to_json(asdict(found), indent=1))
        return
    out.print(fact_table("", found.facts))
    for doubt in found.doubts:
        out.print(f"doubt: {doubt}", soft_wrap=True)


def _on(chips: Sequence[str]) -> "Callable[[Experiment], dict[str, str]]":
    """What some chips take for an experiment; each chip is read before anything is done.

    Raises:
        SettingsError: there is no such chip.
    """
    if not chips:
        return lambda _: {}
    from clients.chip import load_chip
    from server.cost import cost_of_experiment

    known = {f"on {name}": load_chip(name) for name in chips}
    return lambda ready: {
        told: _there(cost_of_experiment(ready, chip)) for told, chip in known.items()
    }


def _here(found: "Here") -> str:
    return (
        f"a step of {found.batch:,} records takes {si(found.step_s, 's')}: "
        f"{si(found.training_s, 's')} for all rounds, {found.at_once} clients at a time, without "
        f"evaluation and fixed transforms; {si(found.peak_bytes, 'B')} of memory by now"
    )


def _there(report: "Report") -> str:
    told = ""
    if before := report.preparation:
        told = f"transform of {before.records:,} records, once: {si(before.latency_s, 's')}; "
    assert report.round is not None
    round_, step = report.round, report.round.step
    return (
        f"{told}a round {si(round_.latency_s, 's')}, {si(round_.energy_j, 'J')}, with radio; "
        f"in 99 of 100 steps {si(step.latency_99_s, 's')}, {held(step.memory_99)}"
    )
