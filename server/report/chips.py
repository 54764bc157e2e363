"""Figures of what a step costs on a chip: latency and energy by layer, and the roofline."""

import math

import plotly.graph_objects as go

from server.report.findings import Phase, Step
from server.report.style import BOUNDS, FAINT, PARTS, SERIES, SYMBOLS, canvas, safe
from server.report.units import si, text


def latency_by_layer(step: Step) -> go.Figure:
    """Seconds of each phase of each layer; colour says what it waits for."""
    figure = _bars(step)
    for bound, colour in BOUNDS.items():
        those = [p for p in step.phases if p.bound == bound]
        if those:
            figure.add_bar(
                x=[p.latency_s for p in those],
                y=[_name(p) for p in those],
                orientation="h",
                name=f"bound by {bound}",
                marker={"color": colour},
                text=[text(si(p.latency_s, "s")) for p in those],
                textposition="none",
                hovertemplate="%{y}: %{text}<extra></extra>",
            )
    figure.update_xaxes(title_text="latency", tickformat="~s", ticksuffix="s", nticks=5)
    return figure


def energy_by_layer(step: Step) -> go.Figure:
    """Joules of each phase of each layer, stacked by part of the chip."""
    figure = _bars(step)
    parts = dict.fromkeys(part for p in step.phases for part, joules in p.energy_j if joules)
    for i, part in enumerate(parts):
        joules = [dict(p.energy_j).get(part, 0.0) for p in step.phases]
        figure.add_bar(
            x=joules,
            y=[_name(p) for p in step.phases],
            orientation="h",
            name=safe(part),
            marker={"color": PARTS.get(part, SERIES[i % len(SERIES)])},
            text=[text(si(j, "J")) for j in joules],
            textposition="none",
            hovertemplate="%{y}<br>" + safe(part) + ": %{text}<extra></extra>",
        )
    figure.update_xaxes(title_text="energy", tickformat="~s", ticksuffix="J", nticks=5)
    return figure


def _bars(step: Step) -> go.Figure:
    figure = canvas(110 + 24 * len(step.phases))
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
    if peak:
        ridge = peak / width if width else None
        low, high = min(reach, default=1.0) / 3, max([*reach, ridge or 0.0]) * 3
        xs = [low, ridge, high] if ridge and low < ridge else [low, high]
        figure.add_scatter(
            x=xs,
            y=[min(peak, x * width) if width else peak for x in xs],
            mode="lines",
            name="the chip’s limit",
            line={"color": FAINT, "width": 2},
            hoverinfo="skip",
        )
    for i, phase in enumerate(dict.fromkeys(p.phase for p in points)):
        those = [p for p in points if p.phase == phase]
        figure.add_scatter(
            x=[p.intensity for p in those],
            y=[p.operations_per_s for p in those],
            mode="markers",
            name=safe(phase),
            marker={"size": 11, "symbol": SYMBOLS[i % 7], "color": SERIES[i % 7]},
            text=[
                f"<b>{_name(p)}</b><br>{text(si(p.operations_per_s, 'op/s'))} at "
                f"{p.intensity:.3g} op/byte<br>bound by {safe(p.bound)}, "
                f"{p.utilisation:.0%} of the elements used"
                for p in those
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_xaxes(type="log", title_text="operations a byte of DRAM", **_decades(reach))
    figure.update_yaxes(
        type="log", title_text="operations a second", tickformat="~s", dtick=1
    )
    return figure


def _decades(values: list[float]) -> dict[str, object]:
    """A tick a decade, or Plotly's own where that would leave fewer than two."""
    span = math.log10(max(values) / min(values)) if values else 0.0
    return {"dtick": 1} if span >= 1 else {"nticks": 6}
