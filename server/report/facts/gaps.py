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
        lambda run: not run.finished and not run.diverged,
        "training is not finished: its figures are of the rounds so far",
        lambda run, name: f"privet resume {name}",
    ),
    "convergence": (
        lambda run: run.diverged,
        "training diverged: its figures are of no model, and it is no baseline",
        lambda run, name: f"privet show {name}",
    ),
    "figures by class": (
        lambda run: run.reached is None and run.finished and bool(run.test_records),
        "what is reached is known as one number",
        lambda run, name: f"privet evaluate {name}",
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
        lambda run: not run.costs and not run.events,
        "no chip was asked: what a device pays is not known",
        lambda run, name: f"privet cost {name} --chip eyeriss",
    ),
    "encrypted inference": (
        lambda run: not run.encrypted and bool(run.scheme),
        "its model can answer encrypted questions, but was not asked any",
        lambda run, name: f"privet infer {name} --scheme {run.scheme} --evaluate 20",
    ),
}
# part -> its file, which may be there and yet not be read
FILES = {
    "figures by class": "test.json",
    "attack": "leakage.json",
    "audit": "audit.json",
    "cost": "cost.json",
    "encrypted inference": "inference.json",
}


def missing_of(runs: tuple[RunFacts, ...], folder: Path) -> tuple[Missing, ...]:
    """Everything that is not there, part by part."""
    found = []
    for part, (lacks, why, command) in PARTS.items():
        file, those = FILES.get(part, ""), [run for run in runs if lacks(run)]
        unread = [run for run in those if file in dict(run.damaged)]
        rest = [run for run in those if run not in unread]
        for which, reason in ((rest, why), (unread, f"{file} cannot be read; measure it again")):
            if which:
                commands = tuple(command(run, quoted(run, folder)) for run in which)
                found.append(Missing(part, reason, tuple(run.name for run in which), commands))
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
        "no run without a promise is of the same records, model, arithmetic, clients, rounds and "
        "code: what privacy costs in accuracy is not known (choose its learning rate anew: nothing "
        "is clipped)"
    )
    commands = tuple(f"privet run {file} -s budget.unit=none" for file in files)
    return [Missing("baseline", why, tuple(run.name for run in those), commands)]


STEEP = "arithmetic.slope"
# What a promise is about, and what is solved from it or alters no accuracy.
OF_PROMISES = (
    "budget.",
    "data.nominal_records",
    "federation.evaluate_every",
    "federation.client_evaluation",
    "training.noise",
    "attack.",
)
# What must be alike for two runs to be one work with a promise and without.
WORK = ("data.", "model.", "arithmetic.", "federation.clients", "federation.rounds", "code")


def differences(other: RunFacts, run: RunFacts) -> dict[str, tuple[str, str]]:
    """What was set otherwise, beside the promise: key -> (of `other`, of `run`)."""
    its, mine = dict(other.group), dict(run.group)
    keys = [key for key in dict.fromkeys((*mine, *its)) if not key.startswith(OF_PROMISES)]
    found = {key: (its.get(key, "-"), mine.get(key, "-")) for key in keys}
    done = (str(other.rounds_done), str(run.rounds_done))
    return {k: pair for k, pair in (*found.items(), ("rounds done", done)) if pair[0] != pair[1]}


def other_work(other: RunFacts, run: RunFacts) -> dict[str, tuple[str, str]]:
    """Of these, what makes it other work: records, model, arithmetic, clients, rounds, or code."""
    return {
        key: pair
        for key, pair in differences(other, run).items()
        if key == "rounds done" or (key.startswith(WORK) and key != STEEP)
    }


def is_baseline(other: RunFacts, run: RunFacts) -> bool:
    """Is `other` what `run` would be without a promise? How it is trained may differ, since a
    promise wants other steps than none, and with training how steep a layer is."""
    if other.diverged:
        return False
    return not other.private and other.accuracy is not None and not other_work(other, run)


def in_words(found: dict[str, tuple[str, str]]) -> str:
    """`rounds 1, not 5`."""
    return ", ".join(
        f"{key.rpartition('.')[2].replace('_', ' ')} {its}, not {mine}"
        for key, (its, mine) in found.items()
    )


def _unencrypted(runs: tuple[RunFacts, ...]) -> list[Missing]:
    if not runs or any(run.encrypted or run.scheme for run in runs):
        return []
    why = "no model here can answer encrypted questions; train one that can"
    commands = ("privet run encrypted-perceptron", "privet run encrypted-binary")
    return [Missing("encrypted inference", why, (), commands)]
