"""The section on what changed since another report."""

from server.report.facts.findings import Interval
from server.report.facts.since import Change, Since
from server.report.page.blocks import Block, Prose, Section, Table
from server.report.words.units import Cell, Num, estimate

SAID = {True: "changed", False: "within chance", None: "no interval to tell"}


def changes(found: Since) -> Section:
    """Figures that changed first; then those of which it is not known, and those that did not."""
    ordered = sorted(found.changes, key=lambda c: (c.beyond is False, c.beyond is None))
    rows = tuple(
        (c.now.name, _shown(c.before.interval, c.now.unit), _shown(c.now.interval, c.now.unit),
         _difference(c), SAID[c.beyond])
        for c in ordered
    )  # fmt: skip
    about = (
        f"{found.sentence} A difference has the interval of two independent estimates; what a "
        "model of a chip computes has none, and any difference of it is one."
    )
    columns = ("figure", "then", "now", "difference (95 %)", "is it more than chance?")
    blocks: list[Block] = [Prose(about), Table(f"Then and now: {found.name}", columns, rows)]
    for names, what in ((found.new, "Only now"), (found.gone, "Only then")):
        if names:
            blocks.append(Table(what, ("figure",), tuple((name,) for name in names), folded=True))
    return Section("changes", "What changed", tuple(blocks))


def _shown(interval: Interval, unit: str) -> Cell:
    value, ends = estimate(interval, unit)
    return Num(f"{value} ({ends})" if ends else value, interval.value)


def _difference(change: Change) -> Cell:
    cell = _shown(change.difference, change.now.unit)
    return cell if change.difference.value else "none"
