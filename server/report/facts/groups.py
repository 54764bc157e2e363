"""Runs that differ only in their seed, and what privacy cost each of them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from server.report.facts.facts import RunFacts
from server.report.facts.findings import Interval
from server.report.facts.gaps import is_baseline

LEVEL = 0.95


@dataclass(frozen=True)
class Group:
    """Runs of the same settings and other seeds.

    Attributes:
        accuracy: the mean over seeds with Student's 95 % interval; low and high are the value
            itself where there is one seed.
        least, greatest: over seeds.
    """

    runs: tuple[RunFacts, ...]
    accuracy: Interval
    least: float
    greatest: float

    @property
    def first(self) -> RunFacts:
        """The run of the lowest seed."""
        return self.runs[0]


@dataclass(frozen=True)
class Price:
    """What privacy cost: accuracy of the baseline less that of the private group."""

    private: Group
    baseline: Group

    @property
    def points(self) -> float:
        """As a share: 0.01 is one percentage point."""
        return self.baseline.accuracy.value - self.private.accuracy.value


def groups_of(runs: Sequence[RunFacts]) -> tuple[Group, ...]:
    """Runs with an accuracy, by their settings without the seed, in order of appearance."""
    found: dict[tuple, list[RunFacts]] = {}
    for run in runs:
        if run.accuracy is not None:
            found.setdefault((run.group, run.finished), []).append(run)
    return tuple(_group(sorted(those, key=lambda r: (r.seed, r.name))) for those in found.values())


def _group(runs: list[RunFacts]) -> Group:
    values = [run.accuracy for run in runs if run.accuracy is not None]
    return Group(tuple(runs), over_seeds(values), min(values), max(values))


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean and Student's 95 % interval; of one value, only the value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, mean, mean)
    factor = float(student.ppf((1 + LEVEL) / 2, len(values) - 1))
    half = factor * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def prices_of(groups: Sequence[Group]) -> tuple[Price, ...]:
    """Each finished private group with the best baseline that fits it, if there is one."""
    found = []
    for group in groups:
        fitting = [b for b in groups if is_baseline(b.first, group.first) and b.first.finished]
        if group.first.private and group.first.finished and fitting:
            found.append(Price(group, max(fitting, key=lambda b: b.accuracy.value)))
    return tuple(found)


def common_adversaries(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """Adversaries that were played against every attacked run: only these can be compared."""
    attacked = [run.leakage for run in runs if run.leakage]
    if not attacked:
        return ()
    names = [[a.name for a in leakage.played if a.auc] for leakage in attacked]
    return tuple(name for name in names[0] if all(name in others for others in names))


def leak_of(run: RunFacts, adversaries: Sequence[str]) -> Interval | None:
    """The greatest AUC among some adversaries."""
    if not run.leakage:
        return None
    found = [a.auc for a in run.leakage.played if a.name in adversaries and a.auc]
    return max(found, key=lambda auc: auc.value, default=None)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of (leakage, accuracy) that no other beats in both, by leakage."""
    best, chosen = -math.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best = points[i][1]
            chosen.append(i)
    return chosen


def in_detail(runs: Sequence[RunFacts], most: int) -> tuple[RunFacts, ...]:
    """The runs that a report tells in detail: one a group, those first that were measured most.

    The order of the report is kept.
    """
    firsts: dict[tuple, RunFacts] = {}
    for run in runs:
        kept = firsts.get(run.group)
        if kept is None or _parts(run) > _parts(kept):
            firsts[run.group] = run
    chosen = sorted(firsts.values(), key=_parts, reverse=True)[:most]
    return tuple(run for run in runs if run in chosen)


def _parts(run: RunFacts) -> int:
    """How many kinds of things are known of a run."""
    return sum(map(bool, (run.leakage, run.audit, run.costs, run.encrypted, run.failures)))
