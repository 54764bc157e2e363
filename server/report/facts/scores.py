"""The figures by which runs are held against one another, each with its interval.

A score is of a work (runs that differ only in their seed) on an axis. The first screen shows them
as a matrix, and two reports are compared by them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from attacks.leakage import clopper_pearson
from server.report.facts.facts import RunFacts
from server.report.facts.findings import Audit, Cost, Interval
from server.report.facts.groups import common_adversaries, groups_of, leak_of
from server.report.words.labels import promise_words


@dataclass(frozen=True)
class Axis:
    """What is measured.

    Attributes:
        about: under what conditions, in a few words.
        unit: of its values; of `%` they are shares.
        part: of a run's evidence on which it stands.
        zero: a value that means nothing is there (a guess, no time), where its scale begins.
        beside: the key of the axis that is shown with it.
    """

    key: str
    name: str
    about: str
    unit: str
    part: str
    zero: float | None = None
    beside: str = ""


@dataclass(frozen=True)
class Found:
    """What was found of one work on one axis.

    Attributes:
        run: on whose evidence it stands.
        interval: None where nothing was measured, which `words` then says; without an interval
            low and high are the value.
        basis: on what the interval stands; empty of none.
        limit: what it is a part of: of proven epsilon, what was claimed.
        state: `bad` of what contradicts a promise or does not fit, `most` of the greatest leak.
    """

    run: str
    interval: Interval | None
    basis: str = ""
    words: str = ""
    limit: float | None = None
    state: str = ""


@dataclass(frozen=True, kw_only=True)
class Score(Found):
    """A figure, by its axis, its work (a digest that is alike in all reports), row and column."""

    axis: str
    work: str
    series: str
    promise: str


Work = tuple[RunFacts, ...]


def works_of(runs: Sequence[RunFacts]) -> tuple[Work, ...]:
    """Runs that differ only in their seed, those of the lowest first."""
    found: dict[tuple, list[RunFacts]] = {}
    for run in runs:
        found.setdefault((run.group, run.finished), []).append(run)
    return tuple(tuple(sorted(those, key=lambda r: r.seed)) for those in found.values())


def axes_of(runs: Sequence[RunFacts]) -> tuple[Axis, ...]:
    """In the order in which a reader asks."""
    adversaries = len(common_adversaries(runs))
    whom = f"the strongest of {adversaries} adversaries" if adversaries > 1 else "the adversary"
    found = [Axis(f"reached {n}", _upper(n), "on the whole test set", u, "accuracy")
             for n, u in dict.fromkeys(filter(None, map(_figure, runs)))]  # fmt: skip
    if any(run.leakage for run in runs):
        found += [
            Axis("auc", "Leakage: AUC", f"{whom}; 0.5 is a guess", "", "leakage", 0.5),
            Axis("found", "Members found", "where 1 % are accused falsely", "%", "leakage", 0.0),
        ]
    if any(run.private for run in runs):
        found.append(
            Axis("proven", "Audited ε", "proven at 95 %, of what is claimed", "", "audit", 0.0)
        )
    rounds = all(cost.round for run in runs for cost in run.costs)
    for chip in dict.fromkeys(cost.short for run in runs for cost in run.costs):
        name = f"A {'round' if rounds else 'step'} on {chip}"
        about = "time and energy, by a model of the chip"
        found += [
            Axis(f"time {chip}", name, about, "s", "device", 0.0, f"energy {chip}"),
            Axis(f"energy {chip}", name, about, "J", "device", 0.0),
        ]
    found += _of_events(runs)
    if any(run.encrypted for run in runs):
        found += [
            Axis("asked", "Asked encrypted", "a whole answer; and same answers as in the clear",
                 "s", "encrypted", 0.0, "agreed"),
            Axis("agreed", "Same answer encrypted", "", "%", "encrypted"),
        ]  # fmt: skip
    return tuple(found)


def scores_of(runs: Sequence[RunFacts]) -> tuple[Score, ...]:
    """Every score of every work, and where there is none the reason."""
    adversaries, axes = common_adversaries(runs), axes_of(runs)
    scores = [s for work in works_of(runs) for s in _of_work(work, axes, adversaries)]
    leaks = [s for s in scores if s.axis == "auc" and s.interval]
    most = max(leaks, key=lambda s: s.interval.value if s.interval else 0.0, default=None)
    return tuple(_marked(s) if s is most and len(leaks) > 1 else s for s in scores)


def _marked(score: Score) -> Score:
    return replace(score, state=score.state or "most")


def _of_work(work: Work, axes: Sequence[Axis], adversaries: Sequence[str]) -> Iterator[Score]:
    first = work[0]
    for axis in axes:
        kind, _, what = axis.key.partition(" ")
        if kind == "reached":
            found = _reached(work, what)
        elif kind in ("time", "energy"):
            found = _device(work, what, kind)
        elif kind in ("once", "joules"):
            found = _once(work, what, kind)
        elif kind == "proven":
            found = _proven(work)
        elif kind in ("asked", "agreed"):
            found = _asked(work, kind)
        else:
            found = _leak(work, kind, adversaries)
        if found:
            yield Score(
                **vars(found),
                axis=axis.key,
                work=first.work,
                series=first.series,
                promise=promise_words(first.promise),
            )


def _figure(run: RunFacts) -> tuple[str, str] | None:
    """The figure of merit that is told first, and its unit."""
    if run.accuracy is not None or run.reached is None or not run.reached.figures:
        return ("accuracy", "%") if run.accuracy is not None else None
    return run.reached.figures[0][0], run.reached.unit


def _exact(value: float) -> Interval:
    return Interval(value, value, value)


def _reached(work: Work, name: str) -> Found | None:
    run, figure = work[0], _figure(work[0])
    if figure is None:
        return Found(run.name, None, words="no figure yet") if name == "accuracy" else None
    if figure[0] != name:
        return None
    group = next(iter(groups_of(work)), None)
    if group and len(group.runs) > 1:
        return Found(group.first.name, group.accuracy, f"{len(group.runs)} seeds")
    told = dict(run.reached.figures).get(name) if run.reached else None
    if run.reached and told and told.low is not None and told.high is not None:
        basis = f"{run.reached.units:,} {run.reached.of}"
        return Found(run.name, Interval(told.value, told.low, told.high), basis)
    if run.accuracy is None:
        return Found(run.name, _exact(told.value)) if told else None
    if not run.test_records:
        return Found(run.name, _exact(run.accuracy))
    ends = clopper_pearson(round(run.accuracy * run.test_records), run.test_records)
    return Found(run.name, Interval(run.accuracy, *ends), f"{run.test_records:,} test records")


def _leak(work: Work, kind: str, adversaries: Sequence[str]) -> Found:
    """The greatest over seeds, of the adversaries that were played everywhere."""
    attacked = [run for run in work if run.leakage and run.leakage.played]
    if not attacked:
        return Found(work[0].name, None, words="not attacked" if kind == "auc" else "")
    found = [(run, leak) for run in attacked if (leak := _one(run, kind, adversaries))]
    if not found:
        return Found(attacked[0].name, None, words="by no adversary that was played everywhere")
    run, leak = max(found, key=lambda pair: pair[1].value)
    several = f", the greatest of {len(found)} seeds" * (len(found) > 1)
    return Found(run.name, leak, f"members and strangers{several}")


def _one(run: RunFacts, kind: str, adversaries: Sequence[str]) -> Interval | None:
    if kind == "auc":
        return leak_of(run, adversaries)
    played = run.leakage.played if run.leakage else ()
    found = [a.tpr for a in played if a.name in adversaries and a.tpr]
    return max(found, key=lambda tpr: tpr.value, default=None)


def _proven(work: Work) -> Found:
    """The audit that comes nearest to its claim; one that failed before all others."""
    private = [run for run in work if run.private]
    if not private:
        return Found(work[0].name, None, words="no promise")
    audited = [(run, run.audit) for run in private if run.audit]
    if not audited:
        words = "not audited" if work[0].auditable else "cannot be audited"
        return Found(work[0].name, None, words=words)

    def nearest(pair: tuple[RunFacts, Audit]) -> tuple[bool, float]:
        return not pair[1].passed, pair[1].best.epsilon if pair[1].best else 0.0

    run, audit = max(audited, key=nearest)
    proven = _exact(audit.best.epsilon if audit.best else 0.0)
    if audit.passed:
        return Found(run.name, proven, limit=audit.epsilon)
    failed = ", ".join(check.name for check in audit.checks if not check.passed)
    words = f"FAILED: {failed or 'no check is named'}"
    return Found(run.name, proven, words=words, limit=audit.epsilon, state="bad")


def _device(work: Work, chip: str, kind: str) -> Found | None:
    costed = [(run, cost) for run in work for cost in run.costs if cost.short == chip]
    if not costed:
        return None
    run, cost = costed[0]
    value = _exact(cost.latency_s if kind == "time" else energy_of(cost))
    if not cost.too_large:
        return Found(run.name, value)
    words = f"does not fit: {', '.join(cost.too_large)}"
    return Found(run.name, value, words=words, state="bad")


def _of_events(runs: Sequence[RunFacts]) -> list[Axis]:
    """An inference, where one was priced by events: on conventional chips beside it, too."""
    if not any(run.events for run in runs):
        return []
    found = []
    for chip in dict.fromkeys(chip for run in runs for chip in _once_of(run)):
        driven = any(chip == one.short for run in runs for one in run.events)
        about = "time and energy, " + ("of events counted" if driven else "by a model of the chip")
        name = f"An inference on {chip}"
        found += [
            Axis(f"once {chip}", name, about, "s", "device", 0.0, f"joules {chip}"),
            Axis(f"joules {chip}", name, about, "J", "device", 0.0),
        ]
    return found


def _once(work: Work, chip: str, kind: str) -> Found | None:
    found = next(((run, of[chip]) for run in work if chip in (of := _once_of(run))), None)
    return Found(found[0].name, _exact(found[1][kind == "joules"])) if found else None


def energy_of(cost: Cost) -> float:
    """Of a round where there is one, else of a training step, in joules."""
    return cost.round.energy_j if cost.round else cost.step.energy_j


def _asked(work: Work, kind: str) -> Found | None:
    asked = [(run, e) for run in work for e in run.encrypted]
    if not asked:
        return None
    run, e = min(asked, key=lambda pair: pair[1].total_ms)
    if kind == "agreed":
        return Found(run.name, e.agreement, f"{e.images:,} questions") if e.agreement else None
    return Found(run.name, _exact(e.total_ms / 1e3))


def _once_of(run: RunFacts) -> dict[str, tuple[float, float]]:
    """Seconds and joules of an inference, by chip."""
    loops = {cost.short: (cost.inference.latency_s, cost.inference.energy_j) for cost in run.costs}
    return loops | {one.short: (one.latency_s, one.energy_j) for one in run.events}


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]
