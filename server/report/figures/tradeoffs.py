"""Figures of what is gained and what is lost: accuracy, epsilon, leakage, latency.

Each takes plain facts and draws nothing that is not in them.
"""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from server.report.facts.facts import RunFacts
from server.report.facts.findings import Adversary
from server.report.facts.groups import Group, common_adversaries, front, leak_of
from server.report.figures.style import (
    DASHES,
    FAINT,
    SERIES,
    SYMBOLS,
    canvas,
    colours_of,
    promise_name,
    promise_names,
    safe,
    wrapped,
)
from server.report.words.units import number, percent, ratio, si, text

SMALLEST, HOLLOW, LARGEST = 9.0, 11.0, 24.0  # pixels of a marker
CROWD = 40  # points, from which on they are smaller and have no bars


def pareto(runs: Sequence[RunFacts]) -> go.Figure:
    """Accuracy against leakage; size by device latency, colour by epsilon, shape by arithmetic.

    Leakage is the greatest AUC among the adversaries that were played against every attacked run.
    Latency is of a round on the chip that costs the first costed run; hollow points have none.
    """
    adversaries = common_adversaries(runs)
    shown = [
        (r, leak) for r in runs if r.accuracy is not None and (leak := leak_of(r, adversaries))
    ]
    figure = canvas(430)
    latencies = {r.name: r.costs[0].latency_s for r, _ in shown if r.costs}
    longest = max(latencies.values(), default=1.0)
    symbols = dict(zip(dict.fromkeys(r.arithmetic for r, _ in shown), SYMBOLS * 9, strict=False))
    promises = [r.promise for r, _ in shown]
    colours, names = colours_of(promises), promise_names(promises)
    largest = LARGEST if len(shown) <= CROWD else LARGEST / 2
    best = [shown[i] for i in front([(leak.value, r.accuracy or 0.0) for r, leak in shown])]
    figure.add_scatter(
        x=[leak.value for _, leak in best],
        y=[_percent(r.accuracy) for r, _ in best],
        mode="lines",
        line={"color": FAINT, "width": 1, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
        name="best so far",
        showlegend=len(best) > 1,
    )
    order = sorted(set(promises), key=lambda p: (p is None, p or 0))
    for name in dict.fromkeys(names[p] for p in order):
        those = [(r, leak) for r, leak in shown if names[r.promise] == name]
        colour = colours[those[0][0].promise]
        sizes = [
            max(SMALLEST, largest * math.sqrt(latencies[r.name] / longest))
            if r.name in latencies
            else HOLLOW
            for r, _ in those
        ]
        figure.add_scatter(
            x=[leak.value for _, leak in those],
            y=[_percent(r.accuracy) for r, _ in those],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [leak.high - leak.value for _, leak in those],
                "arrayminus": [leak.value - leak.low for _, leak in those],
                "thickness": 1,
                "width": 0,
                "color": FAINT,
                "visible": len(shown) <= CROWD,
            },
            mode="markers",
            name=name,
            marker={
                "size": sizes,
                "color": colour,
                "opacity": 0.85 if len(shown) <= CROWD else 0.6,
                "symbol": [
                    symbols[r.arithmetic] + ("" if r.name in latencies else "-open")
                    for r, _ in those
                ],
                "line": {"width": 1, "color": colour},
            },
            text=[_hover(r, adversaries) for r, _ in those],
            hovertemplate="%{text}<extra></extra>",
        )
    for arithmetic, symbol in symbols.items() if len(symbols) > 1 else ():
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=wrapped(arithmetic, 40),
            marker={"symbol": symbol, "color": FAINT, "size": 10},
            hoverinfo="skip",
        )
    figure.add_vline(x=0.5, line={"color": FAINT, "width": 1, "dash": "dash"})
    figure.add_annotation(
        x=0.5, y=1, yref="paper", yanchor="top", xanchor="left", showarrow=False,
        text="a guess", font={"size": 11}, xshift=3,
    )  # fmt: skip
    figure.update_xaxes(title_text="leakage: AUC of the strongest attack", tickformat=".3~f")
    figure.update_yaxes(title_text="test accuracy, %", tickformat=".4~f")
    return figure


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _hover(run: RunFacts, adversaries: Sequence[str]) -> str:
    lines = [
        f"<b>{safe(run.label)}</b>",
        f"accuracy {text(percent(run.accuracy))}",
        f"AUC {text(ratio(leak_of(run, adversaries)))}",
        f"model {safe(run.model)}, {len(run.clients)} clients, seed {run.seed}",
    ]
    if run.epsilon is not None:
        lines.append(f"spent ε = {text(number(run.epsilon))}, clip {run.clip:g}")
    if run.costs:
        lines.append(f"{text(si(run.costs[0].latency_s, 's'))} a round, {safe(run.costs[0].short)}")
    return "<br>".join([*lines, f"run {safe(run.name)}"])


def accuracy_by_epsilon(groups: Sequence[Group]) -> go.Figure:
    """Mean accuracy over seeds against epsilon, a line an arithmetic; 95 % intervals."""
    figure = canvas(400)
    shown = [g for g in groups if not g.first.private or g.first.promise]
    promises = sorted({g.first.promise for g in shown if g.first.promise})
    without = (promises[-1] if promises else 1.0) * 2.5  # where "none" stands on the axis
    names = dict.fromkeys(g.first.series for g in shown)
    for i, name in enumerate(names):
        those = sorted(
            (g for g in shown if g.first.series == name),
            key=lambda g: g.first.promise or math.inf,
        )
        aside = 1.008 ** (2 * i - len(names) + 1)  # so that intervals do not hide one another
        several = [len(g.runs) > 1 for g in those]
        figure.add_scatter(
            x=[(g.first.promise or without) * aside for g in those],
            y=[_percent(g.accuracy.value) for g in those],
            error_y={
                "type": "data",
                "array": [_percent(g.accuracy.high - g.accuracy.value) for g in those],
                "thickness": 1.5,
                "width": 4,
                "visible": any(several),
            },
            mode="lines+markers"
            if len({g.first.promise for g in those}) == len(those)
            else "markers",
            name=wrapped(name, 40),
            line={"color": SERIES[i % len(SERIES)], "width": 1.5, "dash": DASHES[i % len(DASHES)]},
            marker={"size": 9, "symbol": SYMBOLS[i % len(SYMBOLS)]},
            text=[_told(g) for g in those],
            hovertemplate="%{text}<extra></extra>",
        )
    ticks = [*promises, *([without] if any(not g.first.private for g in shown) else [])]
    figure.update_xaxes(
        type="log",
        title_text="ε promised (log scale); “none” is no promise",
        tickvals=[*_spread(promises), *ticks[len(promises) :]],
        ticktext=[f"{p:.3g}" for p in _spread(promises)] + ["none"],
        range=[math.log10(min(ticks, default=1) / 1.4), math.log10(max(ticks, default=1) * 1.4)],
    )
    figure.update_yaxes(title_text="test accuracy, %", tickformat=".4~f")
    return figure


def _spread(values: list[float], most: int = 8) -> list[float]:
    """At most about `most` of some sorted values."""
    return values[:: math.ceil(len(values) / most)] if values else []


def _told(group: Group) -> str:
    a, num = group.accuracy, len(group.runs)
    interval = (
        f" ({text(percent(a.low))} to {text(percent(a.high))}), {num} seeds"
        if num > 1
        else ", 1 seed"
    )
    first = group.first
    return (
        f"<b>{promise_name(first.promise)}, {safe(first.series)}</b><br>"
        f"{text(percent(a.value))}{interval}<br>model {safe(first.model)}"
    )


def claimed_and_audited(runs: Sequence[RunFacts]) -> go.Figure:
    """For each audited run: epsilon as claimed, and the greatest lower bounds that were proven."""
    audited = [r for r in runs if r.audit]
    labels = [wrapped(r.label, 26) for r in audited]
    lines = max((label.count("<br>") + 1 for label in labels), default=1)
    figure = canvas(180 + (20 + 16 * lines) * len(audited))
    for label, run in zip(labels, audited, strict=True):
        best = run.audit.best.epsilon if run.audit and run.audit.best else 0.0
        figure.add_scatter(
            x=[best, run.audit.epsilon if run.audit else 0.0],
            y=[label, label],
            mode="lines",
            line={"color": FAINT, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    marks = (
        (
            "claimed for the audited steps",
            [r.audit.epsilon if r.audit else None for r in audited],
            {"symbol": "line-ns-open", "size": 20, "line": {"width": 3}, "color": SERIES[0]},
        ),
        (
            "proven by canaries, at least",
            [r.audit.best.epsilon if r.audit and r.audit.best else None for r in audited],
            {"symbol": "circle", "size": 12, "color": SERIES[1]},
        ),
        (
            "proven by attacks on the run, at least",
            [r.leakage.epsilon if r.leakage else None for r in audited],
            {"symbol": "diamond", "size": 10, "color": SERIES[3]},
        ),
    )
    for name, values, marker in marks:
        told = [
            (value, label) for value, label in zip(values, labels, strict=True) if value is not None
        ]
        figure.add_scatter(
            x=[value for value, _ in told],
            y=[label for _, label in told],
            mode="markers",
            name=name,
            marker=marker,
            cliponaxis=False,
            hovertemplate=f"{name}: ε = %{{x:.3g}}<br>%{{y}}<extra></extra>",
        )
    figure.update_xaxes(title_text="ε", rangemode="tozero")
    figure.update_yaxes(range=[len(audited) - 0.5, -0.5], showgrid=False)
    return figure


def roc(curves: Sequence[tuple[str, Adversary]], colours: Sequence[str] = SERIES) -> go.Figure:
    """ROC curves on two logarithmic axes, by name; the dashed line is a guess.

    Args:
        colours: of the curves, in their order; they are repeated where there are too few.
    """
    figure = canvas(430)
    least = min((1 / max(2, a.non_members) for _, a in curves), default=1e-3)
    floor = min([t for _, a in curves for f, t in a.roc if t > 0 and f >= least] + [least])
    figure.add_scatter(
        x=[floor, 1],
        y=[floor, 1],
        mode="lines",
        name="a guess",
        line={"color": FAINT, "width": 1, "dash": "dash"},
        hoverinfo="skip",
    )
    for i, (name, adversary) in enumerate(curves):
        points = [(f, t) for f, t in adversary.roc if t > 0]
        figure.add_scatter(
            x=[f for f, _ in points],
            y=[t for _, t in points],
            mode="lines",
            name=wrapped(name, 40),
            line={
                "color": colours[i % len(colours)],
                "width": 2,
                "dash": DASHES[i // len(colours) % len(DASHES)] if colours is SERIES else "solid",
            },
            hovertemplate="%{y:.2%} found at %{x:.2%} false<extra>" + safe(name) + "</extra>",
        )
    ticks = [10.0**-k for k in range(6)]
    for update, title in (
        (figure.update_xaxes, "share of non-members accused"),
        (figure.update_yaxes, "share of members found"),
    ):
        update(
            type="log",
            title_text=title,
            range=[math.log10(floor), 0.02],
            tickvals=ticks,
            ticktext=[f"{100 * tick:g} %" for tick in ticks],
        )
    return figure
