"""Run directories and sweeps -> Facts: the only reader of a report."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from privacy.errors import PrivetError, RunError
from privacy.files import is_file
from privacy.foreign import MOST_TEXT_BYTES, read_foreign
from server.adversary.auditing import why_not
from server.cost.events import EVENTS
from server.report.facts import evidence, leaks, reached
from server.report.facts.cells import read_sweep, sweep_folder
from server.report.facts.facts import Cell, Client, Facts, Failure, RunFacts, Turn
from server.report.facts.gaps import missing_of
from server.report.facts.values import UNREADABLE, why
from server.report.facts.works import (
    arithmetic_name,
    flatten,
    group_of,
    partition_of,
    scheme_of,
    work_of,
)
from server.report.words.labels import labelled
from server.run import merit
from server.run.directory import Run, find_run
from server.run.origin import WHOLE
from server.run.rounds import RoundRecord, ledgers_after
from server.run.summary import summarise, weights_sha256

Found = TypeVar("Found")

NOT_WHOLE = "it is not a whole JSON document"


def gather(names: Sequence[str], runs: Path, command: str = "") -> Facts:
    """Read what a report tells of some runs and sweeps.

    Args:
        names: of runs (name, path or `latest`) and sweeps (name or directory).
        runs: the folder of runs.
        command: that made the report.

    Raises:
        RunError: a name is of neither, or nothing can be read.
    """
    cells: list[Cell] = []
    sweeps: list[tuple[str, str]] = []
    swept: dict[Path, tuple[tuple[tuple[str, str], ...], str]] = {}
    found: dict[Path, Run] = {}
    unreadable: list[tuple[str, str]] = []
    for name in names:
        folder = sweep_folder(name, runs)
        if folder is None:
            run = find_run(name, runs)
            found.setdefault(run.path.resolve(), run)
            continue
        sweep = read_sweep(folder)
        sweeps.append((sweep.name, sweep.command))
        cells += sweep.cells
        for run, failed in sweep.runs:
            found.setdefault(run.path.resolve(), run)
            swept[run.path.resolve()] = failed, sweep.searched
        why = "the sweep names it, but its directory is not there"
        unreadable += [(lost, why) for lost in sweep.lost]
    read = []
    for path, run in found.items():
        try:
            read.append(read_run(run, *swept.get(path, ())))
        except PrivetError as error:
            unreadable.append((run.path.name, str(error)))
    if not read and not cells:
        raise RunError("; ".join(reason for _, reason in unreadable) or "no runs to report")
    named = tuple(labelled(read))
    return Facts(
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        version=metadata.version("privet"),
        command=command,
        runs=named,
        cells=tuple(cells),
        sweeps=tuple(sweeps),
        unreadable=tuple(unreadable),
        missing=missing_of(named, runs),
    )


def is_there(name: str, runs: Path) -> bool:
    """Is it the name of a run or a sweep, as `gather` takes it?"""
    try:
        return bool(sweep_folder(name, runs) or find_run(name, runs))
    except RunError:
        return False


def read_run(
    run: Run, failed_stages: tuple[tuple[str, str], ...] = (), searched: str = ""
) -> RunFacts:
    """The facts of one run, not yet labelled.

    Args:
        failed_stages: of the sweep that it is of.
        searched: what is to be said of a choice among that sweep's runs.

    Raises:
        PrivetError: its settings or its rounds are damaged.
    """
    experiment, rounds, summary = run.experiment, run.rounds, summarise(run)
    damaged: list[tuple[str, str]] = []

    def part(name: str, parse: Callable[[Any], Found], found: Any) -> Found | None:
        if not found:
            damaged.extend([(name, NOT_WHOLE)] * os.path.lexists(run.path / name))
            return None
        try:
            return parse(found)
        except UNREADABLE as error:
            damaged.append((name, why(error)))
            return None

    told = part("environment.json", evidence.environment, run.environment) or {}
    about = _data_told(run)
    inference = part(
        "inference.json",
        lambda found: tuple(
            evidence.encrypted(scheme, v, weights_sha256(run)) for scheme, v in found.items()
        ),
        run.kept("inference.json"),
    )
    costs = part("cost.json", lambda found: tuple(map(evidence.cost, found)), run.costs)
    events = part(
        EVENTS, lambda found: tuple(map(evidence.driven, found.values())), run.kept(EVENTS)
    )
    promise = summary.epsilon_target if summary.epsilon_target is not None else summary.epsilon
    return RunFacts(
        name=run.path.name,
        path=run.path.resolve(),
        label=run.path.name,
        series="",
        finished=len(rounds) == experiment.federation.rounds,
        rounds_done=len(rounds),
        rounds=experiment.federation.rounds,
        created=told.get("created", ""),
        command=tuple(told.get("command", ())),
        machine=_machine(told),
        versions=tuple(told.get("versions", {}).items()),
        settings=tuple(flatten(experiment).items()),
        group=tuple((group_of(experiment) | _origin(about, told)).items()),
        seed=experiment.seed,
        dataset=summary.dataset,
        model=summary.model,
        arithmetic=arithmetic_name(experiment),
        unit=summary.unit,
        trust=summary.trust,
        caveat=summary.caveat,
        diverged=summary.status.startswith("diverged"),
        warnings=summary.warnings,
        outside=summary.outside,
        test_records=int(about["test_records"]) if "test_records" in about else None,
        sampling=summary.sampling,
        accountant=summary.accountant,
        secure_aggregation=summary.secure_aggregation,
        single_updates_seen=summary.single_updates_seen,
        accuracy=summary.accuracy,
        best_accuracy=summary.best_accuracy,
        seconds=summary.seconds,
        epsilon=summary.epsilon,
        epsilon_full_participation=summary.epsilon_full_participation,
        promise=promise,
        delta=summary.delta,
        noise_multiplier=summary.noise_multiplier,
        clip=summary.clip,
        partition=partition_of(experiment),
        cohort=experiment.federation.cohort_size,
        clients=tuple(_clients(run, rounds)),
        failures=tuple(_failures(rounds)),
        leakage=part(
            "leakage.json", lambda f: leaks.leakage(f, _pictures(run)), run.kept("leakage.json")
        ),
        audit=part("audit.json", evidence.audit, run.kept("audit.json")),
        costs=costs or (),
        encrypted=inference or (),
        scheme=scheme_of(experiment),
        auditable=not why_not(experiment),
        reached=part(merit.NAME, lambda f: reached.reached(f, len(rounds)), run.kept(merit.NAME)),
        events=events or (),
        searched=summary.searched or searched * (summary.epsilon is not None),
        damaged=tuple(damaged),
        failed_stages=failed_stages,
        course=tuple(_turn(record) for record in rounds),
        work=work_of(experiment),
        trained_from=WHOLE if is_file(run.path / WHOLE) else "experiment.toml",
    )


def _data_told(run: Run) -> dict[str, str]:
    """What the manifest says of the records; nothing if it is damaged, or older."""
    try:
        about = run.data_told
    except RunError:
        return {}
    counted = about.get("test_records", "0")
    whole = counted.isdecimal() and len(counted) < 19
    return about if whole else {k: v for k, v in about.items() if k != "test_records"}


def _origin(about: dict[str, str], told: dict[str, Any]) -> dict[str, str]:
    """Of what records and by what code: runs that differ in it are no repeats of one another."""
    return {
        "data.records": about.get("sha256", "unknown")[:12],
        "code": told.get("code", "unknown"),
    }


def _machine(told: dict[str, Any]) -> str:
    parts = (told.get("platform"), told.get("cores") and f"{told['cores']} cores")
    python = told.get("python") and f"Python {told['python']}"
    return ", ".join(str(part) for part in (*parts, python) if part)


def _clients(run: Run, rounds: list[RoundRecord]) -> Iterator[Client]:
    experiment, ledgers = run.experiment, ledgers_after(rounds)
    entries = [c for record in rounds for c in record.clients]
    good = Counter(c.client for c in entries if not c.failure)
    failed = Counter(c.client for c in entries if c.failure)
    refused = Counter(c.client for c in entries if c.refused)
    num = experiment.federation.clients
    try:
        manifest = run.manifest
        owned = manifest.owner >= 0  # [data] limit leaves some records to nobody
        kept, own = (
            np.bincount(manifest.owner[owned & those], minlength=num).tolist()
            for those in (manifest.held_out, ~manifest.held_out)
        )
    except (RunError, ValueError, IndexError):
        kept, own = [], []
    private = experiment.budget.unit != "none"
    for client in range(num):
        ledger = ledgers.get(client)
        yield Client(
            client=client,
            records=own[client] if own else None,
            held_out=kept[client] if kept else None,
            rounds=good[client],
            failed=failed[client],
            refused=refused[client],
            epsilon=experiment.epsilon_of(ledger) if ledger and private else None,
            steps=sum(entry.steps for entry in ledger.entries) if ledger else 0,
        )


def _turn(r: RoundRecord) -> Turn:
    failed = sum(bool(c.failure) for c in r.clients)
    told = r.clipping.get("clip"), r.clipping.get("share")
    return Turn(r.round, r.accuracy, r.loss, r.epsilon, r.seconds, failed, *told)


def _failures(rounds: list[RoundRecord]) -> Iterator[Failure]:
    for record in rounds:
        for c in record.clients:
            if c.failure:
                yield Failure(record.round, c.client, c.failure, c.refused)


def _pictures(run: Run) -> leaks.Bytes:
    def read(name: str) -> bytes:
        path = (run.path / name).resolve()
        if not path.is_relative_to(run.path.resolve()):
            raise ValueError(f"{name}: is not in the run")
        content = read_foreign(path, MOST_TEXT_BYTES, follow=False) if path.is_file() else b""
        return content if content.startswith(b"\x89PNG\r\n\x1a\n") else b""

    return read
