"""What adversaries draw or guess of single records and persons."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from privacy.text import shown, told_apart
from server.report import figures
from server.report.facts.facts import RunFacts
from server.report.facts.findings import Exhibits, Likeness
from server.report.facts.leaks import INVERSIONS
from server.report.figures.curves import Curves
from server.report.page.blocks import Block, Panel, Picture, Prose, Table
from server.report.words.units import NONE, Cell, count, number, ratio, share


def persons(runs: Sequence[RunFacts]) -> Iterator[Block]:
    """Whether whole persons are told apart, beside whether their records are."""
    rows: list[tuple[Cell, ...]] = []
    for run in runs:
        found = run.leakage.persons if run.leakage else None
        if found is None:
            continue
        counted = f"{found.members:,} and {found.non_members:,}"
        if found.left_out:
            rows.append((run.label, "", "", f"not played: {found.left_out}"))
        else:
            rows.append((run.label, ratio(found.auc), counted, found.against))
    if rows:
        columns = ("run", "AUC over persons (95 %)", "members and strangers", "strangers are")
        title = "Was a person trained on? Guessed from the last model and all of their records"
        yield Table(title, columns, tuple(rows))


def classes(runs: Sequence[RunFacts]) -> Iterator[Block]:
    """Of which classes members are told from strangers best."""
    for run in runs:
        found = run.leakage.classes if run.leakage else ()
        if not found:
            continue
        names = told_apart([name for name, *_ in found])
        rows = tuple(
            (name, ratio(auc), count(members), count(strangers))
            for name, (_, auc, members, strangers) in zip(names, found, strict=True)
        )
        title = f"Members of which classes are told from strangers by the last model: {run.label}"
        columns = ("class", "AUC (95 %)", "members", "strangers")
        yield Table(title, columns, rows, folded=True)


def hidden_columns(runs: Sequence[RunFacts]) -> Iterator[Block]:
    """What a model adds to guessing a hidden column of a table."""
    for run in runs:
        if not (run.leakage and run.leakage.hidden):
            continue
        names = told_apart([one.column for one in run.leakage.hidden])
        rows = tuple(
            (name, share(one.members), share(one.non_members), share(one.of_membership))
            for name, one in zip(names, run.leakage.hidden, strict=True)
        )
        columns = (
            "hidden column",
            "the model adds, of members (95 %)",
            "of strangers (95 %)",
            "right more often of members than of strangers (95 %)",
        )
        title = f"A hidden column guessed from the others and the label: {run.label}"
        yield Table(title, columns, rows)


LIKENESS = {
    "inversion": "Drawn from one update: one record, one step",
    "inversion_of_features": "Drawn from one update through its features: one record, one step",
    "generator": "Generators",
    "generator_malicious_client": "Drawn by a malicious client’s generator",
    "generator_server": "Drawn by the server’s generator",
}


def reconstructions(runs: Sequence[RunFacts]) -> Iterator[Block]:
    """Pictures of one attack on several runs side by side; why others were not played."""
    found = [(run, one) for run in runs if run.leakage for one in run.leakage.likenesses]
    for name in dict.fromkeys(one.name for _, one in found):
        drawn = [(run, one) for run, one in found if one.name == name and not one.left_out]
        for run, one in drawn:
            yield _picture(run, one, several=len(runs) > 1)
            yield from _victims(run, one.exhibits, several=len(runs) > 1)
        reasons = dict.fromkeys(one.left_out for _, one in found if one.name == name)
        for reason in filter(None, reasons):
            whom = ", ".join(
                r.label for r, one in found if (one.name, one.left_out) == (name, reason)
            )
            yield Prose(f"{LIKENESS.get(name, name)}: not played against {whom}: {reason}.")


def _picture(run: RunFacts, found: Likeness, several: bool) -> Block:
    title = LIKENESS.get(found.name, found.name) + (f": {run.label}" if several else "")
    columns = ["measure", "reconstruction", *found.controls]
    rows = [[what, *(number(v) for v in values)] for what, values in found.measures]
    if found.nearer_by and rows:
        columns.append("nearer than the better of these by (95 %)")
        rows = [[*row, ratio(found.nearer_by) if row is rows[0] else NONE] for row in rows]
    table = Table(f"{title}: how near", tuple(columns), tuple(map(tuple, rows)))
    if not found.picture:
        return replace(table, title=f"{table.title}. {_caption(found)}")
    if not found.png:
        return Prose(f"{title}: the picture {found.picture} is not in the run directory.", "note")
    return Picture(title, found.picture, found.png, found.rows, _caption(found), table)


MOST_UNIT = 20  # characters
SHOWN = ("original", "reconstruction", "nearest stranger")


def _victims(run: RunFacts, found: Exhibits, several: bool) -> Iterator[Block]:
    """Rows of tables as such, and recordings as curves."""
    columns = [
        f"{shown(name)}, {shown(unit, MOST_UNIT)}" if unit else shown(name)
        for name, unit in found.columns
    ]
    titles = [f"Victim {n}" for n in range(1, len(found.rows) + len(found.curves) + 1)]
    for n, name in enumerate(found.classes[: len(titles)]):
        titles[n] += f", class {shown(name)}"
    titles = [f"{title}: {run.label}" if several else title for title in titles]
    for title, values in zip(titles, found.rows, strict=False):
        cells = (map(_cell, row) for row in values)
        rows = tuple((name, *row) for name, row in zip(columns, cells, strict=True))
        yield Table(title, ("column", *SHOWN), rows)
    for title, curves in zip(titles, found.curves, strict=False):
        yield Panel(
            title=title,
            drawing=figures.recordings(
                list(zip(SHOWN, curves, strict=True)), columns, found.length, found.unit
            ),
            caption="Thin: what a device recorded. Dashed: what was drawn of it from one update. "
            "Dotted: the nearest record of somebody else.",
            table=Table(title, ("curve", "least", "greatest"), _ends(columns, curves)),
        )


def _ends(columns: Sequence[str], curves: Sequence[Curves]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (f"{which} {name}".rstrip(), number(min(curve)), number(max(curve)))
        for which, channels in zip(SHOWN, curves, strict=True)
        for name, curve in zip(columns, channels, strict=True)
        if curve
    )


def _cell(value: str | float) -> Cell:
    return shown(value) if isinstance(value, str) else number(value, 4)


def _caption(found: Likeness) -> str:
    num = "federations" if found.name.startswith("generator") else "victims"
    told = [f"{found.method[:1].upper()}{found.method[1:]}, {found.victims} {num}."]
    if found.picture and found.exhibits.classes:
        told.append(f"Classes: {', '.join(map(shown, found.exhibits.classes[:16]))}.")
    if found.p_value is not None:
        nearer = found.p_value < 0.05
        told.append(
            f"{'Nearer' if nearer else 'Not shown to be nearer'} to its own victim than the "
            "control "
            f"(p = {found.p_value:.3g})."
        )
    if found.warning:
        told.append(f"Beware, it {found.warning}.")
    if found.name == "inversion_of_features":
        told.append(
            "A record was sought whose features are those that were drawn; they tell no phases of "
            "windows and sounds, and little of a picture’s brightness and contrast."
        )
    if found.name in INVERSIONS:
        told.append(
            "A reconstruction that is no nearer than a stranger’s record reveals a class, not a "
            "person."
        )
    return " ".join(told)
