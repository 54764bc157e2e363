"""What privacy costs and what it buys: curves, and what a promise cost each setting."""

from collections.abc import Sequence

from server.report import figures
from server.report.facts.facts import RunFacts
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
from server.report.page.blocks import Panel, Prose, Section, Table
from server.report.page.promises import WHO
from server.report.words.units import Cell, count, number, percent, points, ratio, si


def tradeoff(runs: Sequence[RunFacts]) -> Section:
    """Curves with intervals, and every point of them as a table."""
    names = common_adversaries(runs)
    whom = ", ".join(WHO.get(name, (name, ""))[0] for name in names)
    of_leaks = (
        f" Leakage is the greatest AUC of {whom}: they were played against every attacked run."
    )
    panels = (
        *figures.accuracy_by_epsilon(runs).panels,
        *figures.pareto(runs).panels,
        *figures.latency(runs).panels,
    )
    title = "What privacy costs, and what it buys"
    if not panels:
        said = "No run has both an accuracy and what to hold it against: nothing can be drawn."
        return Section("tradeoff", title, (Prose(said, "note"),))
    caption = (
        "Bars are 95 % intervals, squares have no promise. Filled: no other run, of any panel, is "
        "better in both; a dotted line joins these. Times are of a round, by a model of the chip."
    )
    panel = Panel(
        "Accuracy against epsilon, leakage and time",
        figures.Drawing(panels),
        caption + of_leaks * bool(names),
        _points(runs),
    )
    return Section("tradeoff", title, (panel,))


def _points(runs: Sequence[RunFacts]) -> Table:
    names = common_adversaries(runs)
    shown = [run for run in runs if run.accuracy is not None]
    leaks = {run.name: leak for run in shown if (leak := leak_of(run, names))}
    pairs = [(leaks[run.name].value, run.accuracy or 0.0) for run in shown if run.name in leaks]
    best = {[r for r in shown if r.name in leaks][i].name for i in front(pairs)}
    rows = tuple(
        (
            run.label,
            percent(run.accuracy),
            ratio(leaks.get(run.name)),
            number(run.promise) if run.private else "no promise",
            si(run.costs[0].latency_s if run.costs else None, "s"),
            run.costs[0].short if run.costs else "not measured",
            "yes" if run.name in best else "",
        )
        for run in shown
    )
    columns = ("run", "accuracy", "AUC (95 %)", "ε promised", "round", "chip", "best in AUC")
    return Table("Accuracy, leakage and time", columns, rows)


def utility(runs: Sequence[RunFacts]) -> Section:
    """Accuracy over seeds of each setting, and what a promise cost it."""
    title = "Accuracy and epsilon"
    groups = groups_of(runs)
    if not groups:
        return Section("utility", title, (Prose("No run has an accuracy yet.", "note"),))
    alone = sum(len(group.runs) == 1 for group in groups)
    once = (
        f" {alone} of {len(groups)} settings have one seed, and no interval over seeds: run them "
        "again with other seeds (-s seed=1)."
    )
    said = (
        "Means over seeds on the whole test set, after the last round, with Student’s 95 % "
        "intervals over seeds." + once * bool(alone)
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
    return Section("utility", title, (Prose(said), Table(title, columns, _by_group(groups))))


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
