"""Curves of one run: rounds, what adversaries find, roofline, speed-up, what was recorded."""

import math
from collections.abc import Callable, Iterator, Sequence

from server.report.facts.facts import RunFacts, Turn
from server.report.facts.findings import Adversary, Step
from server.report.figures.panel import (
    DASHES,
    SHAPES,
    Drawing,
    Panel,
    Scale,
    linear,
    logarithmic,
)
from server.report.words.units import scale, si, text

Curves = Sequence[Sequence[float]]  # a curve for each channel
TENS = range(-12, 13)


def rounds(run: RunFacts) -> Drawing:
    """What each round brought: accuracy, loss, epsilon spent beside what was promised."""
    last = max((turn.round for turn in run.course), default=1)
    x = linear(0, last, "round")
    panels: list[Panel] = []
    for title, of, factor, unit in TURNS:
        told = [(turn.round, value) for turn in run.course if (value := of(turn)) is not None]
        told = [(number, value) for number, value in told if math.isfinite(value)]
        if len(told) < 2:
            continue
        values = [value for _, value in told]
        top = [run.promise] if title == "ε spent" and run.promise else []
        y = linear(min(values), max(values + top), title.lower(), factor, unit)
        panel = Panel(title, x, y, f"by round, 1 to {last}")
        for promise in top:
            panel.line([(x.low, promise), (x.high, promise)], "6 3", "faint")
            panel.label(x.low, promise, "promised")
        panel.line(told)
        panels.append(panel)
    return Drawing(tuple(panel.svg() for panel in panels))


TURNS: tuple[tuple[str, Callable[[Turn], float | None], float, str], ...] = (
    ("Accuracy", lambda turn: turn.accuracy, 100, " %"),
    ("Loss", lambda turn: turn.loss, 1, ""),
    ("ε spent", lambda turn: turn.epsilon, 1, ""),
)


def roc(curves: Sequence[tuple[str, Adversary]]) -> Drawing:
    """A panel a curve, on the same two logarithmic axes; the dashed line is a guess."""
    least = min((1 / max(2, a.non_members) for _, a in curves), default=1e-3)
    floor = min([t for _, a in curves for f, t in a.roc if t > 0 and f >= least] + [least])
    ticks = [(10.0**k, f"{100 * 10.0**k:g} %") for k in range(-6, 1)]
    x = logarithmic(floor, 1.0, "non-members accused", ticks)
    y = logarithmic(floor, 1.0, "members found", ticks)
    panels = []
    for name, adversary in curves:
        panel = Panel(name, x, y, "ROC, both axes logarithmic")
        panel.line([(floor, floor), (1.0, 1.0)], "6 3", "faint")
        panel.line([(f, t) for f, t in adversary.roc if t > 0 and f >= floor])
        panels.append(panel.svg())
    return Drawing(tuple(panels))


def roofline(step: Step) -> Drawing:
    """Operations a second against operations a byte of DRAM (Williams et al., CACM 2009)."""
    points = [(p, p.intensity) for p in step.phases if p.intensity and p.operations_per_s]
    if not points:
        return Drawing(())
    peak, memory = step.peak_operations_per_s, step.dram_bytes_per_s
    reach = [intensity for _, intensity in points]
    rates = [p.operations_per_s for p, _ in points] + [peak] * bool(peak)
    ridge = [peak / memory] if peak and memory else []
    low, high = min(reach + ridge) / 3, max(reach + ridge) * 3
    x = logarithmic(low, high, "operations a byte of DRAM", _tens(""))
    y = logarithmic(min(r for r in rates if r) / 2, max(r for r in rates if r) * 2,
                    "operations a second", _tens("op/s"))  # fmt: skip
    panel = Panel("Roofline", x, y)
    if peak:
        edge = [r for r in ridge if low < r]
        roof = [(at, min(peak, at * memory) if memory else peak) for at in (low, *edge, high)]
        panel.line(roof, "", "faint")
    phases = list(dict.fromkeys(p.phase for p, _ in points))
    for phase, intensity in points:
        name = f"{phase.layer} · {phase.phase}"
        words = f"{name}: {text(si(phase.operations_per_s, 'op/s'))} at {intensity:.3g} op/byte"
        shape = SHAPES[phases.index(phase.phase) % len(SHAPES)]
        panel.mark(intensity, phase.operations_per_s, words, shape)
        panel.label(intensity, phase.operations_per_s, name[:20])
    return Drawing((panel.svg(),))


def speed_ups(
    found: Sequence[tuple[str, Sequence[tuple[float, float, float, float]]]],
) -> Drawing:
    """How much faster a chip is that skips zeros: in theory, and its array; a panel each.

    Args:
        found: a name, and by the share of products left out the speed-up in theory, of the array
            and of an inference: the first as measured, the others a curve.
    """
    panels = []
    for name, (measured, *curve) in found:
        if not curve:
            continue
        most = max(max(point[1], point[2]) for point in (measured, *curve))
        x = linear(
            0.0, max(point[0] for point in (measured, *curve)), "products left out", 100, " %"
        )
        ticks = [(float(n), f"{n} x") for n in (1, 2, 5, 10, 20, 50, 100)]
        panel = Panel(name, x, logarithmic(1.0, max(2.0, most), "times faster", ticks), "by zeros")
        for place, dash, kind in ((1, "6 3", "faint"), (2, "", "")):
            panel.line([(0.0, 1.0), *((point[0], point[place]) for point in curve)], dash, kind)
        words = f"{measured[0]:.1%} of the products left out: {measured[2]:.3g} times faster"
        panel.mark(measured[0], measured[2], words)
        panels.append(panel.svg())
    return Drawing(tuple(panels))


def _tens(unit: str) -> list[tuple[float, str]]:
    def told(value: float) -> str:
        factor, prefix = scale(value)
        return f"{value / factor:g} {prefix}{unit}".strip()

    return [(10.0**k, told(10.0**k) if unit else f"{10.0**k:g}") for k in TENS]


def recordings(
    lines: Sequence[tuple[str, Curves]], channels: Sequence[str], length: float, unit: str
) -> Drawing:
    """Recordings one over another, a panel for each channel; they differ in their dashes.

    Args:
        lines: by name.
        channels: their names, units with them.
        length: of the recording in `unit`, seconds or samples.
    """
    x = linear(0.0, length or 1.0, unit)
    named = enumerate(channels)
    return Drawing(tuple(_channel(n, name, lines, x, length) for n, name in named))


def _channel(
    number: int, name: str, lines: Sequence[tuple[str, Curves]], x: Scale, length: float
) -> str:
    curves = [curves[number] for _, curves in lines]
    values = [value for curve in curves for value in curve]
    panel = Panel(name or "recorded", x, linear(min(values, default=0), max(values, default=1), ""))
    for (line, _), curve, dash in zip(lines, curves, DASHES, strict=False):
        panel.line(list(_over(curve, length)), dash, "" if line == lines[1][0] else "faint")
    return panel.svg()


def _over(curve: Sequence[float], length: float) -> Iterator[tuple[float, float]]:
    for i, value in enumerate(curve):
        yield length * i / max(1, len(curve)), value
