"""What a sweep does with each of its runs. Whether it is done is read from the run, not remembered.

run      train it, or what is left of it
attack   five adversaries: leakage.json
audit    does the mechanism do what it claims: audit.json
cost     on chips: cost.json, and events.json of event-driven ones
infer    encrypted inference: inference.json
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from clients.chip import Chip, load_chip
from clients.chip.events import EventChip, is_event_chip, load_event_chip
from privacy.errors import ModelError, PrivetError, ServiceError, SettingsError
from server.adversary.adversaries import attack, settings_of
from server.adversary.auditing import audit_of, has_passed, why_not
from server.cost import cost_of_run
from server.cost.events import EVENTS, events_of_run
from server.engines.launch import launch, resume
from server.experiment.experiment import Experiment
from server.inference.program import require_encryptable
from server.run.directory import Run
from server.run.summary import measured
from server.sweep.objectives import auc_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is wanted of every run.

    Attributes:
        chips: names or files.
        schemes: of encrypted inference, and on how many test images each.
    """

    attack: bool = False
    audit: bool = False
    chips: tuple[str, ...] = ()
    schemes: Mapping[str, int] = field(default_factory=dict)


class AuditFailed(PrivetError):
    """The mechanism does not do what it claims."""


def train(experiment: Experiment, path: Path) -> Run:
    """Create the run at `path` and run it, or do what is left of it.

    Raises:
        PrivetError: as `launch` and `resume`; or the run that is there is of other records.
    """
    if not (path / "experiment.toml").is_file():
        return launch(experiment, path.parent, path.name)
    run = Run.open(path)
    run.require_same_data()  # what is found again by its settings must be of the same records
    if len(run.rounds) < experiment.federation.rounds:
        resume(run)
    return run


class Stage(NamedTuple):
    """One thing to do with a run that is trained.

    Attributes:
        why_not: raises if it cannot be done with such an experiment, or was not ordered.
        is_done: whether the run already has what was ordered.
        do: do it; what it finds is kept in the run.
    """

    why_not: Callable[[Experiment, Order], str]
    is_done: Callable[[Run, Order], bool]
    do: Callable[[Run, Order, Tell], object]


NOT_ORDERED = "not ordered"


def stages_of(experiment: Experiment, order: Order) -> dict[str, str]:
    """Each stage that was ordered, with the reason why it cannot be done; empty if it can."""
    reasons = {name: stage.why_not(experiment, order) for name, stage in STAGES.items()}
    return {name: reason for name, reason in reasons.items() if reason != NOT_ORDERED}


def _do_attack(run: Run, order: Order, tell: Tell) -> None:
    attack(run, settings_of(run, None), tell)


def _audit(run: Run, order: Order, tell: Tell) -> None:
    found = audit_of(run.experiment, run)
    run.keep("audit.json", found.to_dict())
    if not found.passed:
        failed = ", ".join(check.name for check in found.checks if not check.passed)
        raise AuditFailed(f"the audit failed: {failed}; see: privet audit {run.path.name}")


def _why_not_audit(experiment: Experiment, order: Order) -> str:
    return why_not(experiment) if order.audit else NOT_ORDERED


def _chips_of(experiment: Experiment, order: Order) -> tuple[list[Chip], list[EventChip]]:
    """Those that compute its net: all that follow loops, and those of events of its kind."""
    driven = [load_event_chip(name) for name in order.chips if is_event_chip(name)]
    others = [load_chip(name) for name in order.chips if not is_event_chip(name)]
    return others, [chip for chip in driven if chip.kind == experiment.arithmetic.name]


def _why_not_cost(experiment: Experiment, order: Order) -> str:
    if not order.chips:
        return NOT_ORDERED
    names = ", ".join(order.chips)
    none = f"in {experiment.arithmetic.name!r} nothing happens that {names} computes"
    return "" if any(_chips_of(experiment, order)) else none


def _cost(run: Run, order: Order, tell: Tell) -> None:
    chips, driven = _chips_of(run.experiment, order)
    reports, events = _costed(run), run.kept(EVENTS)
    reports |= {chip.title: cost_of_run(run, chip).as_dict() for chip in chips}
    run.save_costs(list(reports.values()))
    if driven:
        run.keep(EVENTS, events | {one.title: events_of_run(run, one).as_dict() for one in driven})


def _is_costed(run: Run, order: Order) -> bool:
    chips, driven = _chips_of(run.experiment, order)
    events = run.kept(EVENTS)
    return {chip.title for chip in chips} <= {*_costed(run)} and all(
        chip.title in events for chip in driven
    )


def _costed(run: Run) -> dict[str, dict[str, Any]]:
    """The whole reports of cost.json, by chip: a damaged one is made anew."""
    reports = [report for report in run.costs if isinstance(report, dict)]
    return {report["chip"]: report for report in reports if isinstance(report.get("chip"), str)}


def _why_not_infer(experiment: Experiment, order: Order) -> str:
    if not order.schemes:
        return NOT_ORDERED
    reasons = []
    for scheme in order.schemes:
        try:
            require_encryptable(experiment, scheme)
        except ModelError as error:
            reasons.append(f"{scheme}: {error}")
    return "; ".join(reasons) if len(reasons) == len(order.schemes) else ""


def _infer(run: Run, order: Order, tell: Tell) -> None:
    """In a process of its own, which takes its keys and its compiler with it when it ends.

    `privet infer` keeps what it measures in the run.
    """
    for scheme, images in _schemes_left(run, order).items():
        tell(f"{scheme}, {images} images ...")
        command = [sys.executable, "-m", "server", "infer", str(run.path), "--scheme", scheme]
        done = subprocess.run(
            [*command, "--evaluate", str(images), "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            said = [line for line in lines if line.startswith("privet: ")] or lines[-1:]
            raise ServiceError(f"{scheme}: {said[0].removeprefix('privet: ')}")


def _schemes_left(run: Run, order: Order) -> dict[str, int]:
    left = {}
    for scheme, images in order.schemes.items():
        try:
            require_encryptable(run.experiment, scheme)
        except ModelError:
            continue
        if measured(run, scheme).get("images", 0) < images:
            left[scheme] = images
    return left


STAGES: dict[str, Stage] = {
    "attack": Stage(
        lambda experiment, order: "" if order.attack else NOT_ORDERED,
        lambda run, order: auc_of(run) is not None,
        _do_attack,
    ),
    "audit": Stage(
        _why_not_audit,
        lambda run, order: has_passed(run),
        _audit,
    ),
    "cost": Stage(
        _why_not_cost,
        _is_costed,
        _cost,
    ),
    "infer": Stage(_why_not_infer, lambda run, order: not _schemes_left(run, order), _infer),
}


def require_possible(experiments: list[Experiment], order: Order) -> None:
    """Refuse an order that not one of the experiments can fulfil, or that names what is not there.

    Raises:
        SettingsError: with the reason of the first.
    """
    for name in STAGES:
        reasons = [stages_of(experiment, order).get(name) for experiment in experiments]
        if experiments and all(reasons):
            raise SettingsError(f"--{name}: {reasons[0]}")
