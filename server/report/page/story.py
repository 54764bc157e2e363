"""Facts -> what a report tells, in the order in which a reader asks."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from server.report.facts.facts import Facts, RunFacts
from server.report.facts.since import Since
from server.report.page.blocks import Block, Commands, Dossier, Prose, Section, Table
from server.report.page.changes import changes
from server.report.page.devices import costs, encrypted
from server.report.page.dossiers import dossiers, targets
from server.report.page.federations import federation
from server.report.page.matrix import Matrix, matrix_of
from server.report.page.promises import adversaries, claimed, limits
from server.report.page.pruning import pruned
from server.report.page.reached import reached
from server.report.page.referee import referee
from server.report.page.tradeoffs import tradeoff, utility
from server.report.words.shared import differing
from server.report.words.units import SPACE, Cell, count, number, percent, si
from server.run.names import instant_of


@dataclass(frozen=True)
class Story:
    """What a page tells, in the order in which a reader asks.

    Attributes:
        sections: that are read.
        dossiers: that a click on the matrix opens.
        tables: of all runs, folded.
    """

    matrix: Matrix
    sections: tuple[Section, ...]
    dossiers: tuple[Dossier, ...]
    tables: tuple[Section, ...]


def tell(facts: Facts, before: Since | None = None) -> Story:
    """All of a report but its verdict."""
    runs = facts.runs
    changed = (changes(before),) if before else ()
    shown = (*changed, referee(facts), tradeoff(runs), pruned(runs), limits(runs), lacking(facts))
    tables = (
        every_run(runs), utility(runs), reached(runs), claimed(runs), adversaries(runs),
        costs(runs), encrypted(runs), federation(runs), reproduction(facts),
    )  # fmt: skip
    return Story(
        matrix_of(runs, targets(runs)),
        tuple(section for section in shown if section.blocks),
        dossiers(runs),
        tables,
    )


# ---- what is not here


def lacking(facts: Facts) -> Section:
    """Missing parts with the commands that fill them; failed cells; damaged directories."""
    blocks: list[Block] = []
    failed = facts.failed_cells
    if failed:
        rows = tuple(
            (c.settings or "-", count(c.seed), c.error or "no reason was kept") for c in failed
        )
        title = f"Failed cells: {len(failed)} of {len(facts.cells)}"
        blocks.append(Table(title, ("cell", "seed", "reason"), rows))
    stages = [(run, stage, why) for run in facts.runs for stage, why in run.failed_stages]
    if stages:
        rows = tuple((run.label, stage, why) for run, stage, why in stages)
        blocks.append(Table("Failed stages", ("run", "stage", "reason"), rows))
    undone = [c for c in facts.cells if c.status not in ("done", "failed")]
    if undone:
        rows = tuple((c.settings or "-", count(c.seed), c.status) for c in undone)
        blocks.append(
            Table(f"Cells not done: {len(undone)}", ("cell", "seed", "status"), rows, True)
        )
    if facts.unreadable:
        blocks.append(
            Table("Run directories that cannot be read", ("run", "why"), facts.unreadable)
        )
    damaged = tuple((run.label, file, what) for run in facts.runs for file, what in run.damaged)
    if damaged:
        columns = ("run", "file", "what is wrong with it")
        blocks.append(Table("Files that cannot be read", columns, damaged))
    for missing in facts.missing:
        whose = f" ({len(missing.runs)} of {len(facts.runs)} runs)" if missing.runs else ""
        if missing.commands:
            why = f"{missing.part}{whose}: {missing.why}"
            blocks.append(Commands(why, missing.commands, folded=len(missing.commands) > 3))
        else:
            blocks.append(Prose(f"{missing.part}{whose}: {missing.why}."))
    if not blocks:
        blocks.append(Prose("Nothing: every part was measured in every run."))
    return Section("missing", "What is not here", tuple(blocks))


# ---- all runs


def every_run(runs: Sequence[RunFacts]) -> Section:
    """Every run in one table."""
    rows = tuple(
        (
            run.label,
            run.name,
            percent(run.accuracy),
            number(run.epsilon) if run.private else "no promise",
            run.dataset,
            run.model,
            run.arithmetic,
            count(len(run.clients)),
            f"{run.rounds_done}{SPACE}of{SPACE}{run.rounds}",
            count(len(run.failures)),
            count(run.seed),
            si(run.seconds, "s"),
        )
        for run in runs
    )
    columns = (
        "run", "directory", "accuracy", "ε spent", "data", "model", "arithmetic", "clients",
        "rounds", "client failures", "seed", "time of its rounds",
    )  # fmt: skip
    return Section("runs", "All runs", (Table("All runs", columns, rows),))


# ---- how to make it again


def reproduction(facts: Facts) -> Section:
    """All settings, versions, and the commands."""
    runs = facts.runs
    blocks: list[Block] = [
        Commands(f"The sweep {name}", (command,)) for name, command in facts.sweeps if command
    ]
    recorded = [run for run in runs if run.command]
    if recorded:
        why = "The commands that started the runs, as recorded"
        lines = tuple(_joined(run.command) for run in recorded)
        blocks.append(Commands(why, lines, folded=len(lines) > 6))
    again = tuple(f"privet run {run.path / run.trained_from}" for run in runs)
    why = "Each run again, from all its settings as resolved"
    blocks.append(Commands(why, again, folded=len(again) > 6))
    if facts.command:
        blocks.append(Commands("This report", (facts.command,)))
    common, varied = differing(runs)
    if varied and len(runs) > 1:
        blocks.append(_differences(runs, varied))
    blocks.append(
        Table(
            "Settings of all runs" if len(runs) > 1 else "All settings",
            ("setting", "value"),
            tuple(common.items()),
            folded=True,
        )
    )
    blocks.append(
        Table("Machines and versions", ("run", "made", "machine", "versions"), _made(runs))
    )
    return Section("reproduction", "Settings and versions", tuple(blocks))


def _joined(command: Sequence[str]) -> str:
    return shlex.join(command)


def _differences(runs: Sequence[RunFacts], varied: list[str]) -> Table:
    """A row a run; or a row a setting, where that is the narrower."""
    title, each = "Settings that differ", [dict(run.settings) for run in runs]
    if len(varied) > len(runs):
        rows = tuple((key, *(settings.get(key, "-") for settings in each)) for key in varied)
        return Table(title, ("setting", *(run.label for run in runs)), rows)
    rows = tuple(
        (run.label, *(settings.get(key, "-") for key in varied))
        for run, settings in zip(runs, each, strict=True)
    )
    return Table(title, ("run", *varied), rows, folded=len(runs) > 12)


def _made(runs: Sequence[RunFacts]) -> tuple[tuple[Cell, ...], ...]:
    """One row for runs of one machine and versions."""
    found: dict[tuple[str, str], list[RunFacts]] = {}
    for run in runs:
        versions = ", ".join(f"{name} {version}" for name, version in run.versions)
        found.setdefault((run.machine, versions), []).append(run)
    return tuple(
        (
            those[0].label if len(those) == 1 else f"{len(those)} runs",
            those[0].created if len(those) == 1 else _span([run.created for run in those]),
            machine or "not recorded",
            versions or "not recorded",
        )
        for (machine, versions), those in found.items()
    )


def _span(created: list[str]) -> str:
    """The first and the last instant, whatever the time zones."""
    ordered = sorted(created, key=instant_of)
    return f"{ordered[0]} to {ordered[-1]}"
