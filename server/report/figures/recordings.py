"""Figures of what was recorded over time."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from server.report.figures.style import DASHES, SERIES, TEMPLATE, safe

TOP, ROW = 90, 110  # pixels: of legend and axis, and of a channel
Curves = Sequence[Sequence[float]]  # a curve for each channel


def recordings(
    lines: Sequence[tuple[str, Curves]], channels: Sequence[str], length: float, unit: str
) -> go.Figure:
    """Recordings one over another, a row for each channel.

    Args:
        lines: by name.
        channels: their names, units with them.
        length: of the recording in `unit`, seconds or samples.
    """
    figure = make_subplots(
        rows=max(1, len(channels)), shared_xaxes=True, vertical_spacing=0.25 / max(1, len(channels))
    )
    for number, (name, curves) in enumerate(lines):
        look = {"color": SERIES[number], "dash": DASHES[number], "width": 1.5}
        for row, curve in enumerate(curves, start=1):
            figure.add_scatter(
                x=[length * i / max(1, len(curve)) for i in range(len(curve))],
                y=list(curve),
                mode="lines",
                line=look,
                name=safe(name),
                legendgroup=name,
                showlegend=row == 1,
                row=row,
                col=1,
            )
    figure.update_layout(template=TEMPLATE, height=TOP + ROW * max(1, len(channels)))
    for row, channel in enumerate(channels, start=1):
        figure.update_yaxes(title_text=safe(channel), row=row, col=1)
    figure.update_xaxes(title_text=unit, row=max(1, len(channels)), col=1)
    return figure
