"""What pruning saves: of a net's weights and products, and of the time that theory says."""

from collections.abc import Sequence

from server.report import figures
from server.report.facts.facts import RunFacts
from server.report.facts.findings import Cost
from server.report.page.blocks import Block, Panel, Prose, Section, Table
from server.report.words.units import NONE, Cell, number, percent

PRUNING = ("weight", "structured", "gradual", "activation")
OFF = ("0", "0.0", "none", "False", "false")


def pruned(runs: Sequence[RunFacts]) -> Section:
    """Of all runs whose zeros were counted, if any of them was pruned."""
    counted = [(run, cost) for run in runs for cost in run.costs if cost.left]
    if not any(_kind(run) for run, _ in counted):
        return Section("pruning", "What pruning saves", ())
    seen = {run.name: (run, cost) for run, cost in reversed(counted)}
    rows = tuple(
        (run.label, _kind(run) or "none", percent(run.accuracy), *_left(cost))
        for run, cost in reversed(seen.values())
    )
    columns = ("run", "[pruning]", "accuracy", "weights left", "products left")
    blocks: list[Block] = [
        Prose(
            "Weights that are not zero, of the whole net’s: what has to be kept. Products of two "
            "numbers that are not zero, of the whole net’s, on test records: what has to be done. "
            "A ReLU gives zeros whether anything is pruned or not."
        ),
        Table("Footprint and operations", columns, rows, bars=("weights left", "products left")),
        _speed_ups(counted),
    ]
    drawing = figures.speed_ups([(f"{c.short}, {run.label}", c.speed_ups) for run, c in counted])
    if drawing.panels:
        curve = tuple(
            (run.label, cost.short, *_numbers(point))
            for run, cost in counted
            for point in cost.speed_ups[1:]
        )
        title = "Speed-up from zeros, in theory and by the chip model"
        blocks.append(
            Panel(
                title,
                drawing,
                caption="The dashed line is theory: a product with a zero takes no time. The line "
                "is the chip’s array, whose elements wait for one another, with as many zeros in "
                "each layer; the mark is the run’s own net, with the zeros that were counted.",
                table=Table(title, ("run", "chip", *COLUMNS), curve),
            )
        )
    return Section("pruning", "What pruning saves", tuple(blocks))


COLUMNS = ("products left out", "in theory", "its array", "an inference")


def _speed_ups(counted: Sequence[tuple[RunFacts, Cost]]) -> Table:
    rows = tuple((run.label, cost.short, *_numbers(cost.speed_ups[0])) for run, cost in counted)
    title = "How many times faster than the whole net without a zero"
    return Table(title, ("run", "chip", *COLUMNS), rows, folded=len(rows) > 24)


def _numbers(point: tuple[float, float, float, float]) -> tuple[Cell, ...]:
    zeros, *faster = point
    return (percent(zeros, 1), *(number(value) for value in faster))


def _left(cost: Cost) -> tuple[Cell, ...]:
    return tuple(percent(share, 1) for share in cost.left) if cost.left else (NONE, NONE)


def _kind(run: RunFacts) -> str:
    """The settings that prune, as in the file; empty without."""
    settings = {key: str(value) for key, value in run.settings}
    told = {key: settings.get(f"pruning.{key}", "none") for key in PRUNING}
    return ", ".join(f"{key} = {value}" for key, value in told.items() if value not in OFF)
