"""What a report lacks, and the commands that fill it."""

import shlex
from collections.abc import Callable
from pathlib import Path

from server.report.facts.facts import Missing, RunFacts

Lacks = Callable[[RunFacts], bool]
Command = Callable[[RunFacts, str], str]


# part -> who lacks it, why it matters, and what fills it
PARTS: dict[str, tuple[Lacks, str, Command]] = {
    "rounds": (
        lambda run: not run.finished,
        "training is not finished: its figures are of the rounds so far",
        lambda run, name: f"privet resume {name}",
    ),
    "attack": (
        lambda run: run.leakage is None,
        "nobody attacked it: leakage is not known",
        lambda run, name: f"privet attack {name}",
    ),
    "audit": (
        lambda run: run.audit is None and run.auditable,
        "nobody audited it: the claimed epsilon stands alone",
        lambda run, name: f"privet audit {name}",
    ),
    "cost": (
        lambda run: not run.costs,
        "no chip was asked: what a device pays is not known",
        lambda run, name: f"privet cost {name} --chip eyeriss",
    ),
    "encrypted inference": (
        lambda run: not run.encrypted and bool(run.scheme),
        "its model can answer encrypted questions, but was not asked any",
        lambda run, name: f"privet infer {name} --scheme {run.scheme} --evaluate 20",
    ),
}


def missing_of(runs: tuple[RunFacts, ...], folder: Path) -> tuple[Missing, ...]:
    """Everything that is not there, part by part."""
    found = []
    for part, (lacks, why, command) in PARTS.items():
        those = [run for run in runs if lacks(run)]
        if those:
            commands = tuple(command(run, quoted(run, folder)) for run in those)
            found.append(Missing(part, why, tuple(run.name for run in those), commands))
    found += _unaudited(runs) + _without_baseline(runs, folder) + _unencrypted(runs)
    return tuple(found)


def quoted(run: RunFacts, folder: Path) -> str:
    """How a command names a run."""
    return shlex.quote(run.name if run.path.parent == folder.resolve() else str(run.path))


def _unaudited(runs: tuple[RunFacts, ...]) -> list[Missing]:
    those = tuple(run.name for run in runs if run.unit == "client" and not run.auditable)
    why = "behind a sum no device's noise is whole, and the auditor hears one at a time"
    return [Missing("audit of shared noise", why, those, ())] if those else []


def _without_baseline(runs: tuple[RunFacts, ...], folder: Path) -> list[Missing]:
    those = [run for run in runs if run.private and not any(is_baseline(b, run) for b in runs)]
    if not those:
        return []
    files = dict.fromkeys(shlex.quote(str(run.path / "experiment.toml")) for run in those[:1])
    why = (
        "no run without a promise has the same data, model, arithmetic and clients: what privacy "
        "costs in accuracy is not known (choose its learning rate anew: nothing is clipped)"
    )
    commands = tuple(f"privet run {file} -s budget.unit=none" for file in files)
    return [Missing("baseline", why, tuple(run.name for run in those), commands)]


STEEP = "arithmetic.slope"


def is_baseline(other: RunFacts, run: RunFacts) -> bool:
    """Is `other` what `run` would be without a promise? Budget, training and rounds may differ,
    and with training how steep a layer is."""
    if other.private or other.accuracy is None:
        return False
    mine, its = (
        {
            k: v
            for k, v in r.group
            if k.startswith(("data.", "model.", "arithmetic.")) and k != STEEP
        }
        for r in (run, other)
    )
    return mine == its and len(other.clients) == len(run.clients)


def _unencrypted(runs: tuple[RunFacts, ...]) -> list[Missing]:
    if not runs or any(run.encrypted or run.scheme for run in runs):
        return []
    why = "no model here can answer encrypted questions; train one that can"
    commands = ("privet run encrypted-perceptron", "privet run encrypted-binary")
    return [Missing("encrypted inference", why, (), commands)]
