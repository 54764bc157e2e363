"""Runs that differ only in their seed, and what privacy cost each of them.

A repeat has the same settings, records by content and code, and another seed. A difference has an
interval: over seeds, paired where both sides have them; or, of one seed, by the size of the test
set, which says nothing of how another seed would have come out.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student
from scipy.stats import ttest_ind

from server.report.facts.facts import RunFacts
from server.report.facts.findings import Interval
from server.report.facts.gaps import differences, is_baseline

LEVEL = 0.95
Z = 1.959963984540054


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
    """What privacy cost: accuracy of the baseline less that of the private group.

    Attributes:
        difference: as a share, 0.01 is one percentage point, with its 95 % interval.
        basis: what the interval stands on; empty if there is none, and low and high are the value.
        differs: what was set otherwise beside the promise: key -> (without it, with it).
    """

    private: Group
    baseline: Group
    difference: Interval
    basis: str
    differs: dict[str, tuple[str, str]]

    @property
    def points(self) -> float:
        """As a share."""
        return self.difference.value

    @property
    def is_shown(self) -> bool:
        """Is it more than chance?"""
        return bool(self.basis) and not self.difference.low <= 0 <= self.difference.high


def price_of(private: Group, baseline: Group) -> Price:
    """The difference of two groups, with what it stands on."""
    with_, without = _by_seed(private), _by_seed(baseline)
    common = sorted(set(with_) & set(without))
    if len(common) > 1:
        found = over_seeds([without[seed] - with_[seed] for seed in common])
        basis = f"over {len(common)} seeds"
    elif len(with_) > 1 and len(without) > 1:
        found, basis = _welch(list(without.values()), list(with_.values())), "over other seeds"
    else:
        found, basis = _by_test_set(private.first, baseline.first)
    return Price(private, baseline, found, basis, differences(baseline.first, private.first))


def _by_seed(group: Group) -> dict[int, float]:
    return {run.seed: run.accuracy for run in group.runs if run.accuracy is not None}


def _welch(greater: list[float], less: list[float]) -> Interval:
    """The difference of two means, each over seeds of its own (Welch 1947)."""
    found = ttest_ind(greater, less, equal_var=False).confidence_interval(LEVEL)
    value = statistics.fmean(greater) - statistics.fmean(less)
    low, high = float(found.low), float(found.high)
    return Interval(value, low, high) if math.isfinite(low) else Interval(value, value, value)


def _by_test_set(private: RunFacts, baseline: RunFacts) -> tuple[Interval, str]:
    """One seed each: two shares of a test set (Agresti and Caffo 2000)."""
    with_, without = private.accuracy or 0.0, baseline.accuracy or 0.0
    value, num = without - with_, private.test_records
    if not num:
        return Interval(value, value, value), ""
    shares = [(share * num + 1) / (num + 2) for share in (without, with_)]
    half = Z * math.sqrt(sum(share * (1 - share) / (num + 2) for share in shares))
    middle = shares[0] - shares[1]
    return Interval(value, middle - half, middle + half), f"one seed, {num:,} test records"


def groups_of(runs: Sequence[RunFacts]) -> tuple[Group, ...]:
    """Runs with an accuracy, by their settings without the seed, in order of appearance."""
    found: dict[tuple, list[RunFacts]] = {}
    for run in runs:
        if run.accuracy is not None:
            found.setdefault((run.group, run.finished), []).append(run)
    return tuple(_group(sorted(those, key=lambda r: (r.seed, r.name))) for those in found.values())


def _group(found: list[RunFacts]) -> Group:
    """Of several runs of one seed, the first: they are no repeats."""
    runs = list({run.seed: run for run in reversed(found)}.values())[::-1]
    values = [run.accuracy for run in runs if run.accuracy is not None]
    return Group(tuple(runs), over_seeds(values), min(values), max(values))


def over_seeds(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean and Student's interval; of one value, only the value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, mean, mean)
    factor = float(student.ppf((1 + level) / 2, len(values) - 1))
    half = factor * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def prices_of(groups: Sequence[Group]) -> tuple[Price, ...]:
    """Each finished private group with the best baseline that fits it, if there is one."""
    found = []
    for group in groups:
        fitting = [b for b in groups if is_baseline(b.first, group.first) and b.first.finished]
        if group.first.private and group.first.finished and fitting:
            found.append(price_of(group, max(fitting, key=lambda b: b.accuracy.value)))
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
