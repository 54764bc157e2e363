"""Figures of what is taken for what."""

from collections.abc import Sequence

import plotly.graph_objects as go

from server.report.figures.style import canvas, safe

SIDE, ROW = 150, 24  # pixels: of names and axes, and of a class


def confusion_matrix(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> go.Figure:
    """How often a class was taken for a class: shares of each row as shades, and the counts.

    Args:
        names: of the classes, short and each another.
        matrix: records of a class [rows] that were taken for a class [columns].
    """
    shares = [[cell / max(1, sum(row)) for cell in row] for row in matrix]
    axis = [safe(name) for name in names]
    figure = canvas(SIDE + ROW * max(6, len(names)))
    figure.add_heatmap(
        z=shares,
        x=axis,
        y=axis,
        customdata=matrix,
        zmin=0,
        zmax=1,
        colorscale=[[0, "rgba(47,111,179,0)"], [1, "rgba(47,111,179,1)"]],
        colorbar={"title": "share", "tickformat": ".0%", "thickness": 10},
        hovertemplate="%{y}<br>taken for %{x}<br>%{customdata} records, %{z:.1%}<extra></extra>",
        xgap=1,
        ygap=1,
    )
    labelled = {"type": "category", "categoryorder": "array", "categoryarray": axis, "dtick": 1}
    figure.update_xaxes(title_text="taken for", side="bottom", **labelled)
    figure.update_yaxes(title_text="is", autorange="reversed", **labelled)
    return figure
