"""Figures of devices: cost on a chip by layer, the roofline, encrypted questions, budgets spent."""

from collections.abc import Sequence

import plotly.graph_objects as go

from server.report.facts.facts import RunFacts
from server.report.facts.findings import Encrypted, Phase, Step
from server.report.figures.style import (
    BOUND_NAMES,
    BOUNDS,
    FAINT,
    NO_PROMISE,
    PARTS,
    SERIES,
    SYMBOLS,
    canvas,
    safe,
    wrapped,
)
from server.report.words.units import scale, si, text


def latency_by_layer(step: Step) -> go.Figure:
    """Seconds of each phase of each layer; colour says what it waits for."""
    figure = _bars(step)
    factor, prefix = scale(max((p.latency_s for p in step.phases), default=1.0))
    for bound, colour in BOUNDS.items():
        those = [p for p in step.phases if p.bound == bound]
        if those:
            figure.add_bar(
                x=[p.latency_s / factor for p in those],
                y=[_name(p) for p in those],
                orientation="h",
                name=f"bound by {BOUND_NAMES.get(bound, bound)}",
                marker={"color": colour},
                text=[text(si(p.latency_s, "s")) for p in those],
                textposition="none",
                hovertemplate="%{y}: %{text}<extra></extra>",
            )
    figure.update_xaxes(title_text=f"latency, {prefix}s", nticks=6)
    return figure


def energy_by_layer(step: Step) -> go.Figure:
    """Joules of each phase of each layer, stacked by part of the chip."""
    figure = _bars(step)
    parts = dict.fromkeys(part for p in step.phases for part, joules in p.energy_j if joules)
    whole = [sum(joules for _, joules in p.energy_j) for p in step.phases]
    factor, prefix = scale(max(whole, default=1.0))
    for i, part in enumerate(parts):
        joules = [dict(p.energy_j).get(part, 0.0) for p in step.phases]
        figure.add_bar(
            x=[j / factor for j in joules],
            y=[_name(p) for p in step.phases],
            orientation="h",
            name=safe(part),
            marker={"color": PARTS.get(part, SERIES[i % len(SERIES)])},
            text=[text(si(j, "J")) for j in joules],
            textposition="none",
            hovertemplate="%{y}<br>" + safe(part) + ": %{text}<extra></extra>",
        )
    figure.update_xaxes(title_text=f"energy, {prefix}J", nticks=6)
    return figure


def _bars(step: Step) -> go.Figure:
    figure = canvas(150 + 26 * len(step.phases))
    figure.update_layout(barmode="stack", bargap=0.25)
    figure.update_yaxes(
        autorange="reversed",
        categoryorder="array",
        categoryarray=[_name(p) for p in step.phases],
        showgrid=False,
        ticks="",
    )
    return figure


def _name(phase: Phase) -> str:
    return f"{safe(phase.layer)} · {safe(phase.phase)}"


def roofline(step: Step) -> go.Figure:
    """Operations a second against operations a byte of DRAM (Williams et al., CACM 2009)."""
    figure = canvas(400)
    points = [p for p in step.phases if p.intensity]
    peak, width = step.peak_operations_per_s, step.dram_bytes_per_s
    reach = [p.intensity or 1.0 for p in points]
    factor, prefix = scale(peak or max((p.operations_per_s for p in points), default=1.0))
    if peak:
        ridge = peak / width if width else None
        low, high = min(reach, default=1.0) / 3, max([*reach, ridge or 0.0]) * 3
        xs = [low, ridge, high] if ridge and low < ridge else [low, high]
        figure.add_scatter(
            x=xs,
            y=[(min(peak, x * width) if width else peak) / factor for x in xs],
            mode="lines",
            name="the chip’s limit",
            line={"color": FAINT, "width": 2},
            hoverinfo="skip",
        )
    for i, phase in enumerate(dict.fromkeys(p.phase for p in points)):
        those = [p for p in points if p.phase == phase]
        figure.add_scatter(
            x=[p.intensity for p in those],
            y=[p.operations_per_s / factor for p in those],
            mode="markers",
            name=safe(phase),
            marker={"size": 11, "symbol": SYMBOLS[i % 7], "color": SERIES[i % 7]},
            text=[
                f"<b>{_name(p)}</b><br>{text(si(p.operations_per_s, 'op/s'))} at "
                f"{p.intensity:.3g} op/byte<br>bound by {safe(BOUND_NAMES.get(p.bound, p.bound))}, "
                f"{p.utilisation:.0%} of the elements used"
                for p in those
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_xaxes(type="log", title_text="operations a byte of DRAM", dtick=1)
    figure.update_yaxes(type="log", title_text=f"{prefix}op/s", dtick=1, tickformat=",~r")
    return figure


def encrypted_times(found: Sequence[tuple[str, Encrypted]]) -> go.Figure:
    """Milliseconds of each step of an encrypted question, on a logarithmic axis."""
    steps = list(dict.fromkeys(step for _, e in found for step, _ in e.times_ms))
    figure = canvas(110 + 34 * (len(steps) + 1))
    for i, (name, e) in enumerate(found):
        times = [*e.times_ms, ("whole answer", e.total_ms)]
        figure.add_scatter(
            x=[ms for _, ms in times if ms > 0],
            y=[step.replace("_", " ") for step, ms in times if ms > 0],
            mode="markers",
            name=wrapped(name, 40),
            marker={"size": 12, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": SERIES[i % 7]},
            hovertemplate="%{y}: %{x:.3~g} ms<extra>" + safe(name) + "</extra>",
        )
    figure.update_xaxes(
        type="log", title_text="milliseconds, median (log scale)", dtick=1, tickformat=",~r"
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def spent_by_client(run: RunFacts) -> go.Figure:
    """The epsilon that each client's ledger shows, and what was promised."""
    figure = canvas(290)
    spent = [c for c in run.clients if c.epsilon is not None]
    figure.add_bar(
        x=[c.client for c in spent],
        y=[c.epsilon for c in spent],
        marker={"color": [NO_PROMISE if c.failed else SERIES[0] for c in spent]},
        customdata=[(c.rounds, c.failed, c.steps) for c in spent],
        hovertemplate="client %{x}: ε = %{y:.4g}<br>%{customdata[2]} steps, %{customdata[0]} good "
        "rounds, %{customdata[1]} failed<extra></extra>",
        showlegend=False,
    )
    if run.promise is not None:
        figure.add_hline(y=run.promise, line={"color": NO_PROMISE, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=1, xref="paper", xanchor="right", y=run.promise, yanchor="bottom", showarrow=False,
            text=f"promised: ε = {run.promise:.3g}", font={"size": 12},
        )  # fmt: skip
    tallest = max([c.epsilon or 0.0 for c in spent] + [run.promise or 0.0])
    figure.update_xaxes(title_text="client", dtick=1 if len(spent) <= 20 else None, showgrid=False)
    figure.update_yaxes(title_text="ε spent", range=[0, tallest * 1.18])
    return figure
