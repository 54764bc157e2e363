"""What the models reach on their test sets; and of one run, by class."""

from collections.abc import Iterator, Sequence

from privacy.text import shown, told_apart
from server.report.facts.facts import RunFacts
from server.report.facts.reached import OF_CLASSES, Reached
from server.report.page.blocks import Block, Prose, Section, Table
from server.report.words.reached import drawn_over, measured, named
from server.report.words.units import count

DETAIL = 8  # runs whose figures are not folded
MOST_DRAWN = 30  # classes in a matrix; of more, the pairs that are confused most


def reached(runs: Sequence[RunFacts]) -> Section:
    """Figures of merit with intervals; of each class; and what is taken for what."""
    title = "Reached on the test set"
    told = [run for run in runs if run.reached]
    if not told:
        why = "Not recorded in these runs: privet evaluate RUN computes it."
        return Section("reached", title, (Prose(why, "note"),))
    about = (
        "Figures of the last model. Intervals are of a bootstrap over what is named beside them: "
        "persons, where the data say whose a record is, for records of one person are not "
        "independent of one another."
    )
    return Section("reached", title, (Prose(about), _figures(told)))


def _figures(runs: Sequence[RunFacts]) -> Table:
    """A row for each run and figure: their tasks may differ."""
    rows = tuple(
        (run.label, named(name, run.reached), measured(one), count(run.reached.records),
         drawn_over(run.reached))
        for run in runs
        if run.reached
        for name, one in run.reached.figures
    )  # fmt: skip
    columns = ("run", "figure", "on the test set (95 %)", "test records", "interval over")
    return Table("Figures of merit", columns, rows, folded=len(runs) > DETAIL)


def by_class(run: RunFacts) -> Iterator[Block]:
    """Figures of each class, and what is taken for what."""
    found = run.reached
    if found is None or not found.classes:
        return
    names = told_apart([one.name for one in found.classes])
    measures = [n for n in OF_CLASSES if any(n in dict(one.figures) for one in found.classes)]
    rows = tuple(
        (name, count(one.records), *(measured(dict(one.figures).get(n)) for n in measures))
        for name, one in zip(names, found.classes, strict=True)
    )
    what = "label" if found.task == "labels" else "class"
    columns = (what, "test records", *(f"{name} (95 %)" for name in measures))
    yield Table(f"By {what}: {run.label}", columns, rows, folded=len(rows) > MOST_DRAWN)
    if found.matrix and len(found.matrix) <= MOST_DRAWN:
        yield _matrix(run, found, names)
    elif found.confused:
        pairs = tuple((shown(a), shown(b), count(num)) for a, b, num in found.confused)
        title = f"Classes taken for one another most often: {run.label}"
        yield Table(title, ("is", "taken for", "test records"), pairs)


def _matrix(run: RunFacts, found: Reached, names: Sequence[str]) -> Table:
    """Test records of each class (rows) and what they were taken for: shades are shares of a row,
    and its diagonal is the class's recall."""
    title = f"What is taken for what, test records: {run.label}"
    rows = tuple((name, *map(count, row)) for name, row in zip(names, found.matrix, strict=True))
    return Table(title, ("is, taken for", *names), rows, shaded=True)
