"""Does the arithmetic protect? What each leaks, means over seeds, and what that proves."""

from collections.abc import Sequence

from server.report.facts.facts import Facts, RunFacts
from server.report.facts.findings import Interval
from server.report.facts.groups import leak_of, over_seeds
from server.report.page.blocks import Prose, Section, Table
from server.report.words.referee import ALIKE, LEAST, Referee, drawn_of, referee_of
from server.report.words.units import NONE, Cell, Num, count, estimate, si, text

TITLE = "Does the arithmetic protect?"


def referee(facts: Facts) -> Section:
    """Nothing where no sweep is over arithmetics, with seeds."""
    found = referee_of(facts)
    if found is None:
        return Section("referee", TITLE, ())
    seeds = sorted({seed for those in found.runs.values() for seed in those})
    said = (
        "A difference is paired by seed, and its interval is as wide as all that is said here "
        f"together needs ({found.level:.2%} each, 95 % of all). A float net is of like accuracy if "
        f"the interval of the difference lies within {ALIKE:.0%} of 0. Leakage is the AUC of the "
        f"strongest of {len(found.adversaries)} adversaries, which is above 0.5 by chance too: "
        "the null, whose steps keep nothing of any record, tells by how much."
    )
    return Section(
        "referee",
        TITLE,
        (Prose(found.answer, "note"), Prose(said), _verdicts(found), _figures(found, len(seeds))),
    )


def _verdicts(found: Referee) -> Table:
    rows = tuple(
        (
            one.name,
            _told(one.found),
            one.beside or "none",
            _told(one.apart, "%"),
            _told(one.less),
            _told(one.drawn),
            one.verdict,
        )
        for one in found.compared
    )
    columns = (
        "arithmetic, no ε", "its AUC above the null’s", "float net of like accuracy",
        "its accuracy less that one’s", "its AUC below that one’s",
        "inversion nearer than a stranger by", "verdict on membership",
    )  # fmt: skip
    return Table(f"Verdicts, from intervals of {found.level:.2%}", columns, rows)


def _figures(found: Referee, seeds: int) -> Table:
    rows = tuple(
        (f"{name}, {promise}", *_row([*those.values()], found.adversaries))
        for (name, promise), those in found.runs.items()
    )
    columns = (
        "arithmetic", "seeds", "accuracy", "membership, AUC", "members found, 1 % accused falsely",
        "inversion nearer than a stranger by", "audited ε of claimed, greatest",
        "energy of an inference",
    )  # fmt: skip
    return Table(f"Means over {seeds} seeds, with Student’s 95 % intervals", columns, rows)


def _row(runs: Sequence[RunFacts], adversaries: Sequence[str]) -> tuple[Cell, ...]:
    tpr = [
        max(a.tpr.value for a in run.leakage.played if a.tpr and a.name in adversaries)
        for run in runs
        if run.leakage
    ]
    return (
        count(len(runs)),
        _mean([run.accuracy for run in runs], "%"),
        _mean([leak.value if (leak := leak_of(run, adversaries)) else None for run in runs]),
        _mean(tpr, "%"),
        _inverted(runs),
        _audited(runs),
        _energy(runs),
    )


def _mean(values: Sequence[float | None], unit: str = "") -> Cell:
    known = [value for value in values if value is not None]
    return _told(over_seeds(known), unit) if len(known) >= LEAST else NONE


def _told(found: Interval | None, unit: str = "") -> Cell:
    if found is None:
        return NONE
    figure, ends = estimate(found, unit)
    return Num(f"{figure} ({ends})" if ends else figure, found.value)


def _inverted(runs: Sequence[RunFacts]) -> Cell:
    """By the measure that decides; or why nobody tried."""
    played = [one for run in runs if run.leakage for one in run.leakage.likenesses]
    tried = [one for one in played if one.name == "inversion"]
    shown = _mean([drawn_of(run) for run in runs])
    if isinstance(shown, Num):
        return Num(f"{shown.text} ({tried[0].measures[0][0]})", shown.value)
    return next((f"not played: {one.left_out}" for one in tried if one.left_out), NONE)


def _audited(runs: Sequence[RunFacts]) -> Cell:
    """The greatest that is proved of any seed."""
    best = [
        (run.audit.best.epsilon, run.audit.epsilon) for run in runs if run.audit and run.audit.best
    ]
    if not best:
        return NONE
    proved, claimed = max(best)
    return Num(f"{proved:.2f} of {claimed:.2f}", proved)


def _energy(runs: Sequence[RunFacts]) -> Cell:
    """On each chip, by chip model or by events; the mean over seeds."""
    by_chip: dict[str, list[float]] = {}
    for run in runs:
        for cost in run.costs:
            by_chip.setdefault(cost.short, []).append(cost.inference.energy_j)
        for event in run.events:
            by_chip.setdefault(event.short, []).append(event.energy_j)
    told = [f"{text(si(sum(j) / len(j), 'J'))} on {chip}" for chip, j in by_chip.items()]
    return ", ".join(told) or NONE
