"""Does the arithmetic protect? A sweep over arithmetics, each held against float and a null.

What is said follows from intervals, never from a point: a figure is a mean over seeds, a difference
is paired by seed (of one seed the same records are members), and its interval is Student's. They
are so wide that, of all on which something is said, none misses but 1 time in 20 (Bonferroni).

An arithmetic that leaks less than float may have learnt less: so it is compared with the float net
that is nearest in accuracy, and with none that is not of like accuracy. The null is a net whose
steps keep nothing of any record: what is found in it is chance, and the choice of the strongest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from server.report.facts.facts import Facts, RunFacts
from server.report.facts.findings import Interval
from server.report.facts.groups import LEVEL, common_adversaries, leak_of, over_seeds
from server.report.words.labels import promise_words
from server.report.words.units import estimate
from server.sweep.ready import FLOATS, NULL

AXIS = "arithmetic.name"
ALIKE = 0.05  # of accuracy: no more apart than this, with its interval, is alike
LEAST = 2  # seeds
Figure = Callable[[RunFacts], float | None]
BySeed = Mapping[int, RunFacts]


@dataclass(frozen=True)
class Compared:
    """An arithmetic without a promise.

    Attributes:
        beside: the float net that it is held against; empty if none is of like accuracy.
        apart: its accuracy less that one's. `less`: that one's AUC less its own.
        found: its AUC less the null's; None without a null.
        drawn: by how much what is drawn of a record, from an update of it alone, is nearer to it
            than a stranger is, in the unit of what decides; None where nobody tried.
        verdict: on membership, in words.
    """

    name: str
    beside: str
    apart: Interval | None
    less: Interval | None
    found: Interval | None
    drawn: Interval | None
    verdict: str


@dataclass(frozen=True)
class Referee:
    """What is compared.

    Attributes:
        runs: of an arithmetic and a promise, by seed.
        adversaries: who were played against every run.
        level: of each interval.
        compared: arithmetics without a promise. `promises`: of each by how much it lowers the AUC,
            the mean over arithmetics.
    """

    runs: Mapping[tuple[str, str], BySeed]
    adversaries: tuple[str, ...]
    level: float
    compared: tuple[Compared, ...]
    promises: Mapping[str, Interval]

    @property
    def answer(self) -> str:
        """Does the arithmetic protect?"""
        verdicts = [one.verdict for one in self.compared]
        counted = [(verdicts.count(said), said) for said in dict.fromkeys(verdicts)]
        told = "; ".join(f"{number} of {len(verdicts)}: {said}" for number, said in counted)
        protects = [one.name for one in self.compared if one.verdict == PROTECTS]
        short = f"Yes: {', '.join(protects)}" if protects else "It is not shown of any"
        said = f"Does the arithmetic protect? {short}. {told}."
        return "".join((said, *self._drawn(), *self._promised()))

    def _drawn(self) -> list[str]:
        tried = [(one.name, one.drawn) for one in self.compared if one.drawn]
        given = ", ".join(name for name, by in tried if by.low > 0)
        kept = ", ".join(name for name, by in tried if by.low <= 0)
        return [
            f" A record {what} an update of it alone by the inversion that was tried in: {names}."
            for what, names in (("is drawn from", given), ("is not shown to be drawn from", kept))
            if names
        ]

    def _promised(self) -> list[str]:
        names = len(self.compared) + 1
        return [
            f" A promise of {name} {_lowers(by)} ({_signed(by)}, mean of {names} arithmetics)."
            for name, by in self.promises.items()
        ]


PROTECTS = "leaks less than a float net of like accuracy"
MORE = "leaks more than a float net of like accuracy"
QUIET = "no float net of like accuracy leaks more than the null, so nothing can be protected"
NEITHER = "not shown to leak less than a float net of like accuracy, nor more"
ALONE = "no float net here is of like accuracy, so it cannot be said"
NO_PROMISE = promise_words(None)


def referee_of(facts: Facts) -> Referee | None:
    """None where no sweep of these runs is over arithmetics, attacked, with seeds enough."""
    runs = _by_name(facts)
    free = {name: those for (name, promise), those in runs.items() if promise == NO_PROMISE}
    adversaries = common_adversaries([run for those in runs.values() for run in those.values()])
    floats = [name for name in FLOATS if name in free]
    names = [name for name in free if name not in (*FLOATS, NULL)]
    if not adversaries or not floats or not names:
        return None
    promises = [promise for promise in dict.fromkeys(p for _, p in runs) if promise != NO_PROMISE]
    level = 1 - (1 - LEVEL) / (len(floats) + 3 * len(names) + len(promises))
    auc, leaks = _auc_of(adversaries), dict[str, Interval | None]()
    for name, those in free.items():
        null = free.get(NULL, {})
        leaks[name] = None if name == NULL else _apart(those, null, auc, level)
    compared = tuple(_compare(name, free, floats, leaks, auc, level) for name in names)
    lowered = {p: _lowered(runs, [*floats[:1], *names], p, auc, level) for p in promises}
    told = {promise: by for promise, by in lowered.items() if by}
    return Referee(runs, adversaries, level, compared, told)


def _by_name(facts: Facts) -> dict[tuple[str, str], dict[int, RunFacts]]:
    """Finished and attacked runs by the name of their arithmetic in a sweep, promise and seed;
    those of fewer seeds than `LEAST` are left out."""
    runs = {run.name: run for run in facts.runs if run.finished and run.leakage}
    found: dict[tuple[str, str], dict[int, RunFacts]] = {}
    for cell in facts.cells:
        name, run = dict(cell.labels).get(AXIS), runs.get(cell.run)
        if name and run and run.accuracy is not None:
            found.setdefault((name, promise_words(run.promise)), {})[run.seed] = run
    return {key: those for key, those in found.items() if len(those) >= LEAST}


def _auc_of(adversaries: Sequence[str]) -> Figure:
    def auc(run: RunFacts) -> float | None:
        leak = leak_of(run, adversaries)
        return leak.value if leak else None

    return auc


def accuracy_of(run: RunFacts) -> float | None:
    """Of the last round."""
    return run.accuracy


def drawn_of(run: RunFacts) -> float | None:
    """By how much an inversion is nearer to its victims than the better control."""
    tried = run.leakage.likenesses if run.leakage else ()
    found = (one.nearer_by.value for one in tried if one.name == "inversion" and one.nearer_by)
    return next(found, None)


def _apart(one: BySeed, other: BySeed, figure: Figure, level: float) -> Interval | None:
    """The first less the second, paired by seed; None where fewer than `LEAST` seeds have both."""
    pairs = [(figure(one[seed]), figure(other[seed])) for seed in one if seed in other]
    values = [a - b for a, b in pairs if a is not None and b is not None]
    return over_seeds(values, level) if len(values) >= LEAST else None


def _compare(
    name: str,
    free: Mapping[str, BySeed],
    floats: Sequence[str],
    leaks: Mapping[str, Interval | None],
    auc: Figure,
    level: float,
) -> Compared:
    apart = {one: _apart(free[name], free[one], accuracy_of, level) for one in floats}
    alike = {one: by for one, by in apart.items() if by and by.low > -ALIKE and by.high < ALIKE}
    depths = [by for run in free[name].values() if (by := drawn_of(run)) is not None]
    drawn = over_seeds(depths, level) if len(depths) >= LEAST else None
    if not alike:
        return Compared(name, "", None, None, leaks[name], drawn, ALONE)
    beside = min(alike, key=lambda one: abs(alike[one].value))
    less = _apart(free[beside], free[name], auc, level)
    said = _verdict(less, leaks[beside])
    return Compared(name, beside, alike[beside], less, leaks[name], drawn, said)


def _verdict(less: Interval | None, of_float: Interval | None) -> str:
    if less and less.low > 0:
        return PROTECTS
    if less and less.high < 0:
        return MORE
    return QUIET if of_float and of_float.low <= 0 else NEITHER


def _lowered(
    runs: Mapping[tuple[str, str], BySeed],
    names: Sequence[str],
    promise: str,
    auc: Figure,
    level: float,
) -> Interval | None:
    """By how much a promise lowers the AUC: of each seed the mean over arithmetics."""
    pairs = [(runs.get((n, NO_PROMISE)), runs.get((n, promise))) for n in names]
    by_seed: dict[int, list[float]] = {}
    for without, with_ in ((a, b) for a, b in pairs if a and b):
        for seed in without.keys() & with_.keys():
            a, b = auc(without[seed]), auc(with_[seed])
            if a is not None and b is not None:
                by_seed.setdefault(seed, []).append(a - b)
    whole = [sum(values) / len(names) for values in by_seed.values() if len(values) == len(names)]
    return over_seeds(whole, level) if len(whole) >= LEAST else None


def _lowers(by: Interval) -> str:
    if by.low > 0:
        return "lowers the AUC"
    return "raises the AUC" if by.high < 0 else "is not shown to alter the AUC"


def _signed(by: Interval) -> str:
    """`0.05 (0.03 to 0.07)` less."""
    figure, ends = estimate(by)
    return f"by {figure}, {ends}"
