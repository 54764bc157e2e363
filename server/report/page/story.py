"""Facts -> the sections of a report, in the order in which a reader asks."""

import shlex
from collections.abc import Sequence

from server.report import figures
from server.report.facts.facts import Facts, RunFacts
from server.report.facts.gaps import in_words
from server.report.facts.groups import (
    Group,
    Price,
    common_adversaries,
    front,
    groups_of,
    leak_of,
    prices_of,
)
from server.report.page.blocks import Block, Commands, Panel, Prose, Section, Table
from server.report.page.devices import costs, encrypted
from server.report.page.federations import federation
from server.report.page.promises import WHO, adversaries, claimed
from server.report.page.reached import reached
from server.report.words.units import SPACE, Cell, count, number, percent, points, ratio, si
from server.run.names import instant_of


def tell(facts: Facts) -> tuple[Section, ...]:
    """Every section of the report."""
    runs = facts.runs
    return (
        tradeoff(runs),
        utility(runs),
        reached(runs),
        claimed(runs),
        adversaries(runs),
        costs(runs),
        encrypted(runs),
        federation(runs),
        lacking(facts),
        reproduction(facts),
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


# ---- accuracy against leakage, and against epsilon


def tradeoff(runs: Sequence[RunFacts]) -> Section:
    """The Pareto figure, and every run in one table."""
    names = common_adversaries(runs)
    shown = [
        (run, leak) for run in runs if run.accuracy is not None and (leak := leak_of(run, names))
    ]
    blocks: list[Block] = []
    if shown:
        best = {shown[i][0].name for i in front([(k.value, r.accuracy or 0.0) for r, k in shown])}
        rows = tuple(
            (
                run.label,
                percent(run.accuracy),
                ratio(leak),
                number(run.promise) if run.private else "no promise",
                run.arithmetic,
                si(run.costs[0].latency_s if run.costs else None, "s"),
                run.costs[0].short if run.costs else "not measured",
                "yes" if run.name in best else "",
            )
            for run, leak in shown
        )
        whom = ", ".join(WHO.get(name, (name, ""))[0] for name in names)
        unseen = len(runs) - len(shown)
        without = (
            f" {unseen} of {len(runs)} runs have no leakage or no accuracy, and are not drawn."
        )
        columns = (
            "run",
            "accuracy",
            "AUC (95 %)",
            "ε promised",
            "arithmetic",
            "round",
            "chip",
            "best",
        )
        blocks.append(
            Panel(
                key="pareto",
                title="Accuracy against leakage",
                figure=figures.pareto(runs),
                caption="Up is more useful, left is more private. Leakage is the greatest AUC "
                f"of {whom}: "
                "the adversaries that were played against every attacked run; bars are 95 % "
                "intervals. "
                "The larger a point, the longer a round takes on the device; a hollow one has no "
                "cost. "
                "Dotted, where there are several: runs that no other beats in "
                "both." + without * bool(unseen),
                table=Table("Accuracy and leakage", columns, rows),
            )
        )
    else:
        blocks.append(Prose("No run has both accuracy and leakage: nothing can be drawn.", "note"))
    blocks.append(_all_runs(runs))
    return Section("tradeoff", "Accuracy and leakage", tuple(blocks))


def _all_runs(runs: Sequence[RunFacts]) -> Table:
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
    return Table("All runs", columns, rows, folded=len(rows) > 12)


def utility(runs: Sequence[RunFacts]) -> Section:
    """Accuracy against epsilon, by arithmetic, with intervals over seeds."""
    title = "Accuracy and epsilon"
    groups = groups_of(runs)
    if not groups:
        return Section("utility", title, (Prose("No run has an accuracy yet.", "note"),))
    alone = sum(len(group.runs) == 1 for group in groups)
    once = (
        f" {alone} of {len(groups)} settings have one seed, and no interval: run them again with "
        "other "
        "seeds (-s seed=1)."
    )
    columns = (
        "setting",
        "ε promised",
        "seeds",
        "mean accuracy",
        "95 % interval, from",
        "to",
        "least",
        "greatest",
        "points below no promise",
        "95 % interval of these, from",
        "to ",
        "on what it stands",
    )
    panel = Panel(
        key="utility",
        title="Accuracy against epsilon, by arithmetic",
        figure=figures.accuracy_by_epsilon(groups),
        caption="Means over seeds on the whole test set, after the last round; bars are "
        "Student’s 95 % "
        "intervals over seeds." + once * bool(alone),
        table=Table(title, columns, _by_group(groups)),
    )
    return Section("utility", title, (panel,))


def _by_group(groups: Sequence[Group]) -> tuple[tuple[Cell, ...], ...]:
    prices = {id(price.private): price for price in prices_of(groups)}
    rows = []
    for group in groups:
        first, accuracy, several = group.first, group.accuracy, len(group.runs) > 1
        price = prices.get(id(group))
        bounds = price.difference if price and price.basis else None
        rows.append(
            (
                first.series,
                number(first.promise) if first.private else "no promise",
                count(len(group.runs)),
                percent(accuracy.value),
                percent(accuracy.low if several else None),
                percent(accuracy.high if several else None),
                percent(group.least),
                percent(group.greatest),
                points(price.points if price else None),
                points(bounds.low if bounds else None),
                points(bounds.high if bounds else None),
                _stands_on(price),
            )
        )
    return tuple(rows)


def _stands_on(price: Price | None) -> str:
    """The basis of an interval, and what else was different."""
    if price is None:
        return ""
    also = f"without a promise also {in_words(price.differs)}" if price.differs else ""
    return "; ".join(filter(None, [price.basis or "no interval", also]))


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
    again = tuple(f"privet run {run.path / 'experiment.toml'}" for run in runs)
    why = "Each run again, from all its settings as resolved"
    blocks.append(Commands(why, again, folded=len(again) > 6))
    if facts.command:
        blocks.append(Commands("This report", (facts.command,)))
    common, varied = _settings(runs)
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


def _settings(runs: Sequence[RunFacts]) -> tuple[dict[str, str], list[str]]:
    """Those that all runs share, and the names of those that differ."""
    each = [dict(run.settings) for run in runs]
    keys = dict.fromkeys(key for settings in each for key in settings)
    values = {key: {settings.get(key) for settings in each} for key in keys}
    common = {key: each[0][key] for key in keys if len(values[key]) == 1}
    return common, [key for key in keys if len(values[key]) > 1]


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
