"""The verdict: what did privacy cost, and did it hold? In sentences, from Facts alone.

"Held" is said of a run whose audit passed and which was attacked, and no attack contradicts it;
never of one that was audited beside another that was attacked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from server.experiment.promise import BY_CHANCE
from server.report.facts.facts import Facts, RunFacts
from server.report.facts.gaps import in_words, other_work
from server.report.facts.groups import Price, groups_of, prices_of
from server.report.words.referee import referee_of
from server.report.words.units import number, percent, ratio, si, text

NAMED = 2  # settings that were others too, in a sentence


@dataclass(frozen=True)
class Verdict:
    """What the page says first.

    Attributes:
        state: `held`, `broken`, `untested`, or `none` where nothing was promised.
        sentences: at most three: whether it held, what privacy cost (or whether arithmetics
            protect, if a sweep is over them), what a device pays and what failed.
        reasons: on what they stand. `undone` are those of them that tell what is not here.
    """

    state: str
    sentences: tuple[str, ...]
    reasons: tuple[str, ...]
    undone: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of them."""
        return " ".join(self.sentences)


def holds(run: RunFacts) -> bool | None:
    """Did the promise hold? None: nobody both audited and attacked it, and nothing contradicts."""
    if contradictions(run):
        return False
    return True if run.audit and run.leakage and run.leakage.played else None


def contradictions(run: RunFacts) -> tuple[str, ...]:
    """What speaks against a run's promise."""
    if not run.private:
        return ()
    found = []
    if run.audit and not run.audit.passed:
        failed = [check.name for check in run.audit.checks if not check.passed]
        found.append(f"the audit failed: {', '.join(failed) or 'no check is named'}")
    proven = run.leakage.epsilon if run.leakage else None
    if proven is not None and run.epsilon is not None and proven > run.epsilon:
        found.append(
            f"an attack proves ε ≥ {text(number(proven))}, claimed is {text(number(run.epsilon))}"
        )
    if run.epsilon is not None and run.promise is not None and run.epsilon > run.promise * 1.0001:
        found.append(
            f"ε = {text(number(run.epsilon))} was spent, {text(number(run.promise))} promised"
        )
    return tuple(found)


def verdict(facts: Facts) -> Verdict:
    """The verdict on all runs of a report."""
    private = [run for run in facts.runs if run.private]
    free = [run for run in facts.runs if not run.private]
    prices = prices_of(groups_of(facts.runs))
    failed = _of_failures(facts)
    undone = (*failed, *_of_gaps(facts))
    reasons = (*_of_attacks(facts.runs), *_of_audits(private), *_of_training(prices), *undone)
    if not facts.runs:
        return Verdict("untested", ("No run is there to judge.",), reasons, undone)
    nothing = ["No run, stage or client failed."] * (not failed)
    last = _of_devices(facts.runs, prices) + " ".join([*nothing, *undone])
    if not private:
        runs = "this run" if len(facts.runs) == 1 else "these runs"
        said = f"No privacy was promised in {runs}{_strongest(free)}."
        return Verdict("none", (said, last), reasons, undone)
    state, held = _held(private)
    refereed = referee_of(facts)
    cost = refereed.answer if refereed else _cost(prices, private, free)
    return Verdict(state, tuple(filter(None, (held, cost, last))), reasons, undone)


def _held(private: Sequence[RunFacts]) -> tuple[str, str]:
    broken = [run for run in private if holds(run) is False]
    tested = [run for run in private if holds(run) is not None]
    promise = "The promise" if len(private) == 1 else "Its promises"
    found = _strongest(tested) + _proven(tested)
    if broken:
        whose = f"in {len(broken)} of {len(private)} runs" if len(private) > 1 else ""
        why = f"{broken[0].label}: {contradictions(broken[0])[0]}"
        return "broken", f"{promise} did not hold {whose}".strip() + f" ({why})."
    if not tested:
        return "untested", ("Whether it protected as promised is not known: " + _untested(private))
    if len(tested) < len(private):
        return "held", (
            f"The promise held in the {len(tested)} of {len(private)} private runs that were "
            f"audited and attacked, against everything that was tried{found}."
        )
    return "held", f"The promise held against everything that was tried{found}."


def _strongest(runs: Sequence[RunFacts]) -> str:
    """The greatest AUC, where runs were attacked."""
    leaks = [run.leakage.strongest.auc for run in runs if run.leakage and run.leakage.played]
    worst = max((auc for auc in leaks if auc), key=lambda auc: auc.value, default=None)
    return f": the strongest attack’s AUC is {text(ratio(worst))}, 0.5 a guess" if worst else ""


def _proven(runs: Sequence[RunFacts]) -> str:
    """What canaries prove of what was claimed, where that is most."""
    audits = [run.audit for run in runs if run.audit and run.audit.best and run.audit.epsilon]
    most = max(audits, key=lambda a: (a.best.epsilon if a.best else 0) / a.epsilon, default=None)
    if most is None or most.best is None:
        return ""
    told = f"; canaries prove at most ε ≥ {text(number(most.best.epsilon))} of "
    return told + f"{text(number(most.epsilon))} claimed" + f", {BY_CHANCE}" * most.by_chance


def _of_devices(runs: Sequence[RunFacts], prices: Sequence[Price]) -> str:
    """What a round takes on the first chip, how much of that is privacy, and whether it fits."""
    costs = [(run, cost) for run in runs for cost in run.costs]
    if not costs:
        return "What a device pays was not asked. "
    chip = costs[0][1].short
    asked = {run.name: cost for run, cost in costs if cost.short == chip}
    times = {name: cost.latency_s for name, cost in asked.items()}
    pairs = [(price.private.first.name, price.baseline.first.name) for price in prices]
    ratios = [times[a] / times[b] for a, b in pairs if times.get(a) and times.get(b)]
    ends = " to ".join(dict.fromkeys(text(si(f(times.values()), "s")) for f in (min, max)))
    told = f"A round takes a device ({chip}) {ends} by a model of it"
    if ratios:
        factors = " to ".join(dict.fromkeys(f"{f(ratios):.2f}" for f in (min, max)))
        told += f", {factors} times what the same run takes without privacy"
    held = sum(not cost.too_large for cost in asked.values())
    told += f"; its memory holds {held} of {_plural(len(asked), 'run')}" * (held < len(asked))
    return told + ". "


def _why_unknown(run: RunFacts, free: Sequence[RunFacts]) -> str:
    """The run without a promise that comes nearest, and what of it is other work."""
    found = [other_work(other, run) for other in free if other.accuracy is not None]
    if not found:
        return "for want of a run without it to compare with"
    return f"for the run without it is other work: {in_words(min(found, key=len))}"


def _cost(prices: Sequence[Price], private: Sequence[RunFacts], free: Sequence[RunFacts]) -> str:
    if not prices:
        reached = [run for run in private if run.accuracy is not None]
        if not reached:
            return ""
        best = max(reached, key=lambda run: run.accuracy or 0.0)
        return (
            f"With {promise_of(best)} the model reaches {text(percent(best.accuracy))} accuracy; "
            f"what privacy cost is not known, {_why_unknown(best, free)}."
        )
    least = min(prices, key=lambda price: price.points)
    most = max(prices, key=lambda price: price.points)
    if least is most:
        promised = promise_of(least.private.first)
        return f"Privacy ({promised}) cost {_points(least)}: {_reached(least)}{_beside([least])}."
    return (
        f"Privacy cost from {_points(least)} in {least.private.first.label}, to {_points(most)} in "
        f"{most.private.first.label}{_beside([least, most])}."
    )


def _beside(prices: Sequence[Price]) -> str:
    """What else was different, in the sentence that compares; of much, how much."""
    keys = {key for price in prices for key in price.differs}
    if len(keys) > NAMED:
        return f"; without it {len(keys)} settings of training were others too (named below)"
    told = dict.fromkeys(in_words(price.differs) for price in prices if price.differs)
    return "".join(f"; without it also {words}" for words in told)


def _of_training(prices: Sequence[Price]) -> list[str]:
    """What was trained otherwise where privacy's cost is told."""
    return [
        f"Beside the promise of {price.private.first.label} another was set without it: "
        f"{in_words(price.differs)}."
        for price in prices
        if price.differs
    ]


def _untested(private: Sequence[RunFacts]) -> str:
    files = {file for run in private for file, _ in run.damaged}
    if unread := sorted(files & {"audit.json", "leakage.json"}):
        return f"{' and '.join(unread)} cannot be read."
    audited, attacked = any(run.audit for run in private), any(run.leakage for run in private)
    if audited and attacked:
        return "no run was both audited and attacked."
    return "nobody attacked what was audited." if audited else "nobody audited it."


def promise_of(run: RunFacts) -> str:
    """`ε = 3 at δ = 10⁻⁵ for each record`."""
    if run.promise is None or run.delta is None:
        return "no promise"
    return f"ε = {run.promise:.3g} at δ = {text(number(run.delta))} for each {run.unit}"


def _points(price: Price) -> str:
    low, high = price.difference.low * 100, price.difference.high * 100
    told = f"95 %: {low:.2f} to {high:.2f}, {price.basis}" if price.basis else "without an interval"
    if price.basis and not price.is_shown:
        told += ", so it may be chance"
    return f"{price.points * 100:.2f} points of accuracy ({told})".replace("-", "−")


def _reached(price: Price) -> str:
    with_, without = price.private.accuracy.value, price.baseline.accuracy.value
    return f"{text(percent(with_))} with it, {text(percent(without))} without"


def _of_attacks(runs: Sequence[RunFacts]) -> list[str]:
    said = []
    for private in (True, False):
        attacked = [run for run in runs if run.private is private and run.leakage]
        played = [
            (run, run.leakage.strongest) for run in attacked if run.leakage and run.leakage.played
        ]
        if not played:
            continue
        _, worst = max(played, key=lambda pair: pair[1].auc.value if pair[1].auc else 0.0)
        whose = "under privacy" if private else "without privacy"
        said.append(
            f"The strongest attack on membership {whose} reached AUC {text(ratio(worst.auc))}, "
            f"where 0.5 is a guess ({_plural(len(attacked), 'run')} attacked)."
        )
    if runs and not any(run.leakage for run in runs):
        said.append("No run was attacked: what leaks is not known.")
    return said


def _of_audits(private: Sequence[RunFacts]) -> list[str]:
    audited = [run for run in private if run.audit]
    if not audited:
        return []
    passed = [run for run in audited if run.audit and run.audit.passed]
    said = f"The audit passed in {len(passed)} of {_plural(len(audited), 'audited run')}"
    best = max(
        (run for run in audited if run.audit and run.audit.best),
        key=lambda run: run.audit.best.epsilon if run.audit and run.audit.best else 0.0,
        default=None,
    )
    if best is not None and best.audit and best.audit.best:
        said += (
            f"; canaries prove at most ε ≥ {text(number(best.audit.best.epsilon))}, where "
            f"{text(number(best.audit.epsilon))} is claimed"
        )
        said += f", {BY_CHANCE}" if best.audit.by_chance else ""
    return [said + "."]


def _of_failures(facts: Facts) -> list[str]:
    said = []
    if facts.cells:
        cells = _plural(len(facts.cells), "cell")
        undone = sum(cell.status in ("pending", "running") for cell in facts.cells)
        for num, what in ((len(facts.failed_cells), "failed"), (undone, "not done yet")):
            if num:
                said.append(f"{num} of {cells} of the sweep {what}.")
    if facts.unreadable:
        said.append(f"{_plural(len(facts.unreadable), 'run directory')} cannot be read.")
    num = sum(len(run.failures) for run in facts.runs)
    if num:
        said.append(f"Clients failed {num} times.")
    stages = sum(len(run.failed_stages) for run in facts.runs)
    if stages:
        said.append(f"{_plural(stages, 'stage')} of the sweep failed.")
    damaged = sum(len(run.damaged) for run in facts.runs)
    if damaged:
        said.append(f"{_plural(damaged, 'file')} cannot be read.")
    unfinished = sum(not run.finished for run in facts.runs)
    if unfinished:
        said.append(f"{_plural(unfinished, 'run')} did not finish.")
    return said


def _of_gaps(facts: Facts) -> list[str]:
    parts = dict.fromkeys(missing.part for missing in facts.missing)
    return [f"Not measured everywhere: {', '.join(parts)}."] if parts else []


def _plural(num: int, what: str) -> str:
    many = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{num} {what if num == 1 else many}"
