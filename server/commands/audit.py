"""`privet audit`: does the mechanism do what it claims?"""

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from privacy.documents import to_json
from server.commands.options import (
    AsJson,
    Classes,
    Members,
    NonMembers,
    References,
    RunName,
    Runs,
    Settings,
    Task,
    Tasks,
    Trust,
    Weights,
    finished,
    finite,
    refuse_idle,
)

if TYPE_CHECKING:
    from attacks.audit.steps.asking import Told
    from server.adversary.strangers.finished import Subject

FIRST, SLOW_S = 3, 0.5  # calls by which the time of all is told, of a step that takes so long
STATES = {"passed": "green", "FAILED": "red"}
MODELS_OWN = (
    "epsilon", "delta", "members", "non_members", "weights", "reference", "task", "classes", "s",
)  # fmt: skip
COIN = "each record was put in, or left out, by the toss of a coin of its own"


def audit(
    run: RunName,
    own: Annotated[
        str,
        typer.Argument(
            help="After the word step: FILE:FUNCTION, a training step of your own; after draft: "
            "FILE.py, to be written with one; after model: FILE.py:NAME or FILE.onnx, a finished "
            "model; after lesson, or sampler: its FILE"
        ),
    ] = "",
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", min=1e-3, max=50, callback=finite, help="Claimed of a model"),
    ] = None,
    delta: Annotated[
        float, typer.Option("--delta", min=1e-12, max=0.5, callback=finite, help="At which")
    ] = 1e-5,
    members: Members = None,
    non_members: NonMembers = None,
    weights: Weights = None,
    reference: References = None,
    task: Task = Tasks.CLASSES,
    classes: Classes = None,
    s: Settings = None,
    as_json: AsJson = False,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Audit the DP of a run or an experiment; of any training step (step FILE:FUNCTION), lesson
    (lesson FILE) or reading of spins (sampler FILE); or of a finished model (model FILE), of
    records that a coin each put into its training or left out.

    Exit status 1 if it fails.
    """
    if own and run == "model":
        refuse_idle(dict.fromkeys(("runs", "trust"), "a model's files are your own"))
        model = finished(own, members, non_members, weights, reference, task, classes, s)
        _audit_model(model, epsilon, delta, as_json)
        return
    refuse_idle(dict.fromkeys(MODELS_OWN, "it is of: privet audit model FILE; leave it out"))
    if own and run == "draft":
        from pathlib import Path

        from server.adversary.strangers.steps import draft_step

        draft_step(Path(own))
        print(own)
        return
    if own and run == "sampler":
        _audit_sampler(own, as_json)
        return
    if own:
        _audit_step(run, own, as_json)
        return
    from server.adversary.auditing import audit_of, subject
    from server.console import Columns, out
    from server.experiment.promise import BY_CHANCE, caveat_of
    from server.run.directory import runs_folder
    from server.run.origin import admit_model, require_trust
    from server.run.summary import summarise

    experiment, found_run = subject(run, runs_folder(runs))
    if found_run:
        require_trust(found_run.path, experiment.data, trust)
        admit_model(found_run.path, experiment.model, trust)
    done = audit_of(experiment, found_run)
    found = done.to_dict()
    if found_run:
        found_run.keep("audit.json", found)
    if as_json:
        print(to_json(found, indent=1))
    else:
        table = Columns("check", "", "measured", "should be")
        for check in done.checks:
            verdict = Text("passed", "green") if check.passed else Text("FAILED", "red")
            table.add_row(check.name, verdict, check.measured, check.expected)
        out.print(table)
        table = Columns("lower bound", "epsilon", "assumes")
        for bound in done.bounds:
            table.add_row(bound.name, f"{bound.epsilon:.2f}", bound.assumes)
        claimed = f"{done.epsilon:.2f}" if done.epsilon >= 0.1 else f"{done.epsilon:.2g}"
        table.add_row("claimed", claimed, f"for {done.steps} steps")
        out.print(table)
        above = [bound.name for bound in done.bounds if bound.epsilon > done.epsilon]
        if above and done.passed:
            out.print(f"{', '.join(above)}: above the claim, {BY_CHANCE}", highlight=False)
        for warning in summarise(found_run).warnings if found_run else ():
            out.print(f"warning: {warning}", highlight=False)
        if caveat := caveat_of(experiment):
            out.print(f"epsilon is that of {caveat}", highlight=False)
        for line in done.not_examined:
            out.print(f"not examined: {line}", highlight=False)
        for check in done.checks:
            if not check.passed:
                out.print(Text.assemble((check.name, "red"), f": usually {check.meaning}"))
    if not done.passed:
        raise typer.Exit(1)


def _audit_model(subject: "Subject", epsilon: float | None, delta: float, as_json: bool) -> None:
    """A finished model that privet did not train."""
    from dataclasses import asdict

    from privacy.errors import SettingsError
    from server.adversary.strangers.finished import audit_model
    from server.console import Columns, out

    if epsilon is None:
        raise SettingsError(f"{subject.model}: say what it claims: --epsilon 8 --delta 1e-5")
    bounds, check = audit_model(subject, epsilon, delta)
    passed = check.state == "passed"
    if as_json:
        told = {"passed": passed, "epsilon": epsilon, "delta": delta, "assumes": COIN}
        lines = [asdict(bound) for bound in bounds]
        print(to_json(told | {"bounds": lines, "checks": [asdict(check)]}, indent=1))
    else:
        table = Columns("lower bound", "epsilon", "assumes")
        for bound in bounds:
            table.add_row(bound.name, f"{bound.epsilon:.2f}", bound.assumes)
        table.add_row("claimed", f"{epsilon:.2f}", COIN)
        out.print(table)
        out.print(Text.assemble((check.state, STATES[check.state]), f": {check.measured}"))
    if not passed:
        raise typer.Exit(1)


def _audit_step(word: str, named: str, as_json: bool) -> None:
    """A training step that is not privet's, or a lesson's."""
    from attacks.audit.steps import audit_step, calls_of
    from privacy.errors import SettingsError
    from server.adversary.mechanisms.lessons import audit_lesson
    from server.adversary.strangers.steps import load_step
    from server.console import Columns, out
    from server.experiment.lessons import load_lesson

    if word not in ("step", "lesson"):
        raise SettingsError(f"{named}: one run at a time, or: privet audit step FILE:FUNCTION")
    if word == "step":
        with redirect_stdout(sys.stderr):  # what a step prints is no part of the answer
            make, claims = load_step(named)
            found = audit_step(make, claims, tell=_tell_of(calls_of(make, claims)))
    else:
        found = audit_lesson(load_lesson(named))
    if as_json:
        print(to_json(found.to_dict(), indent=1))
    else:
        table = Columns("check", "", "measured", "should be")
        for check in found.checks:
            state = Text(check.state, STATES.get(check.state, "yellow"))
            table.add_row(check.name, state, check.measured, check.expected)
        out.print(table)
        table = Columns("lower bound", "epsilon", "assumes")
        for bound in found.bounds:
            table.add_row(bound.name, f"{bound.epsilon:.2f}", bound.assumes)
        table.add_row("claimed", f"{found.epsilon:.2f}", f"{found.unit}, {found.neighbours}")
        out.print(table)
        for check in found.checks:
            if check.state == "FAILED":
                out.print(Text.assemble((check.name, "red"), f": usually {check.meaning}"))
        if all(check.state not in STATES for check in found.checks):
            out.print(Text("no check could be made, and nothing is known", "red"))
    if not found.passed:
        raise typer.Exit(1)


def _tell_of(calls: int) -> "Told":
    """Of a step that is slow: how long all of its calls will take, once."""
    from server.console import err

    loading = 0.0  # the first call may load libraries

    def tell(done: int, seconds: float) -> None:
        nonlocal loading
        loading = seconds if done == 1 else loading
        each = (seconds - loading) / max(1, done - 1)
        if done == FIRST and each > SLOW_S:
            minutes = calls * each / 60
            err.print(f"about {calls} calls of {each:.1f} s each: {minutes:.0f} min", style="dim")

    return tell


def _audit_sampler(named: str, as_json: bool) -> None:
    """A state that is read from records' energies."""
    from server.adversary.mechanisms.samplers import audit_sampler, load_sampler
    from server.console import Columns, out

    found = audit_sampler(load_sampler(named))
    if as_json:
        print(to_json(found.to_dict(), indent=1))
    else:
        table = Columns("reading", "", "at least", "here", "proved", "delta", "by")
        for reading in found.readings:
            epsilons = (reading.bound.epsilon, reading.here, reading.epsilon, reading.delta)
            state = reading.state if reading.passed else Text("FAILED", "red")
            table.add_row(reading.name, state, *(f"{e:.3g}" for e in epsilons), reading.proof)
        out.print(table)
        out.print(f"a ledger may be charged {found.charged:.3g}, for the exact sampler alone")
    if not found.passed:
        raise typer.Exit(1)
