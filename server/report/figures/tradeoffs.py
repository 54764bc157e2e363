"""What is gained and what is lost: accuracy against epsilon, leakage and latency, a panel a series.

Each takes plain facts and draws nothing that is not in them. Panels share their axes. Filled marks
are those that no other run, of any panel, beats in both.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.report.facts.facts import RunFacts
from server.report.facts.findings import Interval
from server.report.facts.groups import front
from server.report.facts.scores import Score, scores_of
from server.report.figures.panel import Drawing, Panel, Scale, linear, logarithmic
from server.report.words.labels import promise_words
from server.report.words.units import estimate, si, text

PANELS = 8  # of series, in the order of the report
CHIPS = 4
ROUND, FINE = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)


@dataclass(frozen=True)
class Spot:
    """A work in a panel: its figure on either axis, and the words beside it."""

    series: str
    promise: str
    x: Interval
    y: Interval
    words: str


def accuracy_by_epsilon(runs: Sequence[RunFacts]) -> Drawing:
    """Accuracy against the promise, of series that have several; the last place is no promise."""
    promises = {run.series + promise_words(run.promise): run.promise for run in runs}
    known = sorted({run.promise for run in runs if run.promise})
    without = (known[-1] if known else 1.0) * 3.0
    spots = []
    for score in _of(runs, "reached accuracy"):
        at = promises.get(score.series + score.promise) or without
        spots.append(_spot(score, Interval(at, at, at)))
    several = [s for s in spots if len({o.x.value for o in spots if o.series == s.series}) > 1]
    if not several:
        return Drawing(())
    ticks = [(p, f"{p:.3g}") for p in known] + [(without, "none")]
    x = logarithmic(min(s.x.value for s in several) / 1.5, without * 1.4, "ε promised", ticks)
    return _panels(several, "by ε", x, _shares(several), (), joined=True)


def pareto(runs: Sequence[RunFacts]) -> Drawing:
    """Accuracy against leakage: the greatest AUC of the adversaries that were played everywhere."""
    spots = _pairs(runs, "auc")
    if not spots:
        return Drawing(())
    low, high = min(min(s.x.low for s in spots), 0.5), max(s.x.high for s in spots)
    x = linear(low, high, "leakage, AUC; 0.5 is a guess")
    return _panels(spots, "by leakage", x, _shares(spots), _best(spots))


def latency(runs: Sequence[RunFacts]) -> Drawing:
    """Accuracy against the time of a round, a panel a chip; a series is named where it is best."""
    chips = list(dict.fromkeys(cost.short for run in runs for cost in run.costs))
    return Drawing(tuple(p for chip in chips[:CHIPS] for p in _on_chip(runs, chip)))


def _on_chip(runs: Sequence[RunFacts], chip: str) -> Iterator[str]:
    spots = _pairs(runs, f"time {chip}")
    if not spots:
        return
    low, high = (f(s.x.value for s in spots) for f in (min, max))
    x = logarithmic(low / 1.6, high * 1.6, f"on {chip}"[:36], _seconds(low / 2, high * 2))
    best = _best(spots)
    panel = Panel("All series, by time of a round", x, _shares(spots), chip)
    if len(best) > 1:
        panel.steps([(s.x.value, s.y.value) for s in best])
    for spot in spots:
        _mark(panel, spot, spot in best)
    for series in dict.fromkeys(s.series for s in spots):
        top = max((s for s in spots if s.series == series), key=lambda s: s.y.value)
        panel.label(top.x.value, top.y.value, series)
    yield panel.svg()


def _mark(panel: Panel, spot: Spot, full: bool) -> None:
    """Square without a promise; its intervals as bars; filled if nothing beats it."""
    shape = "square" if spot.promise == promise_words(None) else "circle"
    across, up = (spot.x.low, spot.x.high), (spot.y.low, spot.y.high)
    panel.mark(spot.x.value, spot.y.value, spot.words, shape, full, across, up)


def _of(runs: Sequence[RunFacts], axis: str) -> list[Score]:
    return [s for s in scores_of(runs) if s.axis == axis and s.interval]


def _spot(score: Score, x: Interval, across: str = "") -> Spot:
    y = score.interval or x
    value, interval = estimate(y, "%")
    told = f"{score.promise}, {score.series}: accuracy {value}"
    told += f" ({interval}; {score.basis})" if interval else ""
    return Spot(score.series, score.promise, x, y, told + across)


def _pairs(runs: Sequence[RunFacts], axis: str) -> list[Spot]:
    """Works with an accuracy and another score."""
    others = {s.work + s.promise + s.series: s for s in _of(runs, axis)}
    spots = []
    for score in _of(runs, "reached accuracy"):
        other = others.get(score.work + score.promise + score.series)
        if other and other.interval:
            unit = "s" if axis.startswith("time ") else ""
            value, interval = estimate(other.interval, unit)
            told = f"; {axis.partition(' ')[0]} {value}" + f" ({interval})" * bool(interval)
            spots.append(_spot(score, other.interval, told))
    return spots


def _best(spots: Sequence[Spot]) -> tuple[Spot, ...]:
    return tuple(spots[i] for i in front([(s.x.value, s.y.value) for s in spots]))


def _shares(spots: Sequence[Spot]) -> Scale:
    low, high = min(s.y.low for s in spots), max(s.y.high for s in spots)
    return linear(low, high, "accuracy", 100, " %")


def _seconds(low: float, high: float) -> list[tuple[float, str]]:
    """Ticks of 1, 2, 5 with their prefix; of a long axis the tens alone."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = FINE if high < 10 * low else ROUND if last - first < 4 else ROUND[:1]
    values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [(v, text(si(v, "s")).replace(".00", "").replace(".0\u00a0", "\u00a0")) for v in values]


def _panels(
    spots: Sequence[Spot], by: str, x: Scale, y: Scale, best: Sequence[Spot], joined: bool = False
) -> Drawing:
    panels = []
    for series in list(dict.fromkeys(s.series for s in spots))[:PANELS]:
        panel = Panel(f"{series}, {by}", x, y, f"{y.name} against {x.name}")
        if len(best) > 1:
            panel.steps([(s.x.value, s.y.value) for s in best])
        mine = sorted((s for s in spots if s.series == series), key=lambda s: s.x.value)
        if joined:
            panel.line([(s.x.value, s.y.value) for s in mine])
        for spot in mine:
            _mark(panel, spot, joined or spot in best)
            if not joined:
                panel.label(spot.x.value, spot.y.value, spot.promise)
        panels.append(panel.svg())
    return Drawing(tuple(panels))
