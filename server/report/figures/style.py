"""How figures look: one template, colours that stand out on white and on near black alike."""

import html
import math
import textwrap
from itertools import pairwise

import plotly.graph_objects as go

INK, FAINT, GRID = "#3a4149", "#7b858f", "rgba(123,133,143,0.25)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# From a tight promise to none: cool to warm.
PROMISES = ("#2f6fb3", "#1f8f8a", "#5f8f2e", "#b8860b", "#c8642b")
NO_PROMISE = "#b23a5e"
RANGES = (1.0, 3.0, 8.0)  # of epsilon, where there are too many values for a legend
SERIES = ("#2f6fb3", "#c8642b", "#1f8f8a", "#8a5fb0", "#b8860b", "#b23a5e", "#6b7680")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")

PARTS = {  # of a chip's energy
    "mac": "#2f6fb3",
    "scratchpad": "#1f8f8a",
    "network": "#5f8f2e",
    "buffer": "#b8860b",
    "dram": "#c8642b",
    "lane": "#8a5fb0",
    "random": "#b23a5e",
    "static": "#7b858f",
}
BOUND_NAMES = {"dram": "DRAM"}
BOUNDS = {"compute": "#2f6fb3", "buffer": "#b8860b", "dram": "#c8642b"}

AXIS = {
    "gridcolor": GRID,
    "linecolor": FAINT,
    "zeroline": False,
    "showline": True,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": FAINT,
    "automargin": True,
    "title": {"standoff": 10},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "xaxis": AXIS,
        "yaxis": AXIS,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"family": FONT, "size": 13}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "itemsizing": "constant",
            "font": {"size": 12},
        },
        "bargap": 0.3,
        "showlegend": True,
    }
)


def canvas(height: int) -> go.Figure:
    """An empty figure in the house's style, `height` pixels high."""
    return go.Figure(layout={"template": TEMPLATE, "height": height})


def safe(text: str) -> str:
    """Text of a run for plotly, which would read tags in it."""
    return html.escape(text, quote=False)


def wrapped(words: str, width: int) -> str:
    """Text of a run in lines of about `width` characters, for plotly."""
    return "<br>".join(map(safe, textwrap.wrap(words, width))) or safe(words)


def promise_names(promises: list[float | None]) -> dict[float | None, str]:
    """A name for each promised epsilon, for a legend: ranges, where there are many values."""
    levels = sorted({p for p in promises if p is not None})
    if len(levels) <= len(PROMISES):
        return {None: "no promise"} | {p: f"ε = {p:.3g}" for p in levels}
    edges = (0.0, *RANGES, math.inf)
    ranges = list(pairwise(edges))
    names = [f"ε > {a:g}" if b == math.inf else f"{a:g} < ε ≤ {b:g}" for a, b in ranges]
    found = {p: next(n for (a, b), n in zip(ranges, names, strict=True) if p <= b) for p in levels}
    return {None: "no promise"} | found


def colours_of(promises: list[float | None]) -> dict[float | None, str]:
    """A colour for each promised epsilon, the same where the name is; no promise has its own."""
    names = promise_names(promises)
    distinct = list(dict.fromkeys(names[p] for p in sorted(p for p in names if p is not None)))
    last, span = max(1, len(distinct) - 1), len(PROMISES) - 1
    return {
        p: NO_PROMISE if p is None else PROMISES[round(distinct.index(name) * span / last)]
        for p, name in names.items()
    }


def promise_name(promise: float | None) -> str:
    """For text beside a point."""
    return "no promise" if promise is None else f"ε = {promise:.3g}"
