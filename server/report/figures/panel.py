"""A small chart as SVG: axes with numbers, marks with intervals, labels that keep off one another.

Text is at 12 pixels and never scaled; what tells marks apart is their shape, not only their colour,
so that a chart reads in black and white.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 296, 226
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 46, 40  # of the plot, from the edges
LINE, LETTER = 12.0, 6.9  # pixels: of text, and the widest mean of a letter
RADIUS = 4.0
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")
SHAPES = ("circle", "square", "diamond", "triangle", "cross")
STYLE = """
.panels { display: flex; flex-wrap: wrap; gap: 16px; }
.chart text { font: 12px system-ui, sans-serif; fill: var(--soft, #525c66); }
.chart .title { font-weight: 600; }
.chart .title, .chart .label { fill: var(--ink, #1b2127); }
.chart .grid { stroke: var(--rule, #d7dde2); }
.chart .axis { stroke: var(--soft, #525c66); }
.chart .line, .chart .bar { stroke: var(--bar, #2a62a0); stroke-width: 1.6; fill: none; }
.chart .line.faint { stroke: var(--soft, #525c66); stroke-width: 1; }
.chart .bar { opacity: 0.6; stroke-width: 2; }
.chart .mark { stroke: var(--bar, #2a62a0); stroke-width: 1.6; fill: var(--ground, #fff); }
.chart .mark.full { fill: var(--bar, #2a62a0); }
"""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scale:
    """An axis: its ends, whether it is logarithmic, its ticks as (value, text), and its name."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    name: str
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value stands, as a share of the axis."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        low, high = math.log10(self.low), math.log10(self.high)
        return (math.log10(max(value, self.low)) - low) / (high - low)


def linear(low: float, high: float, name: str, factor: float = 1.0, unit: str = "") -> Scale:
    """An axis of round numbers around low and high; ticks show the value times `factor`."""
    if high <= low:
        low, high = low - 0.5 / factor, high + 0.5 / factor
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    places = max(0, -math.floor(math.log10(step * factor) + 1e-9))
    ticks = tuple(
        (i * step, f"{i * step * factor:,.{places}f}{unit}") for i in range(first, last + 1)
    )
    return Scale(first * step, last * step, ticks, name)


def logarithmic(low: float, high: float, name: str, ticks: Sequence[tuple[float, str]]) -> Scale:
    """A logarithmic axis; of its ticks those that lie on it."""
    if high <= low:
        low, high = low / 2, high * 2
    return Scale(low, high, tuple(t for t in ticks if low <= t[0] <= high), name, log=True)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(m for m in (1, 2, 5, 10) if m * power >= step * 0.999)


@dataclass
class Panel:
    """A chart that is being drawn."""

    title: str
    x: Scale
    y: Scale
    about: str = ""
    _marks: list[str] = field(default_factory=list)
    _labels: list[tuple[float, float, str]] = field(default_factory=list)
    _taken: list[Box] = field(default_factory=list)

    def line(self, points: Sequence[tuple[float, float]], dash: str = "", kind: str = "") -> None:
        """Joined points; `faint` of what is no measurement."""
        at = [self._at(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._marks.append(f'<polyline class="line {kind}" points="{path}"{dashed}/>')

    def steps(self, points: Sequence[tuple[float, float]]) -> None:
        """A front: from each point sideways, then up to the next."""
        corners = [points[0]]
        for (_, y), (x, up) in pairwise(points):
            corners += [(x, y), (x, up)]
        self.line(corners, "2 3", "faint")

    def mark(
        self,
        x: float,
        y: float,
        words: str,
        shape: str = "circle",
        full: bool = True,
        x_ends: tuple[float, float] | None = None,
        y_ends: tuple[float, float] | None = None,
    ) -> None:
        """A point with its intervals; `words` show when it is pointed at."""
        px, py = self._at(x, y)
        for ends, across in ((x_ends, True), (y_ends, False)):
            if ends and ends[0] < ends[1]:
                a, b = sorted(self._at(e, y) if across else self._at(x, e) for e in ends)
                self._taken.append((a[0] - 1, min(a[1], b[1]) - 1, b[0] + 1, max(a[1], b[1]) + 1))
                self._marks.append(
                    f'<line class="bar" x1="{a[0]:.1f}" y1="{a[1]:.1f}" '
                    f'x2="{b[0]:.1f}" y2="{b[1]:.1f}"/>'
                )
        full_ = " full" if full else ""
        self._marks.append(
            f'<g class="mark{full_}"><title>{escape(words)}</title>{_shape(shape, px, py)}</g>'
        )
        self._taken.append((px - RADIUS, py - RADIUS, px + RADIUS, py + RADIUS))

    def label(self, x: float, y: float, text: str) -> None:
        """Words beside a point, where there is room; else left out: its title has them."""
        self._labels.append((*self._at(x, y), text))

    def svg(self) -> str:
        """The whole of it."""
        body = [*self._axes(), *self._marks, *self._placed()]
        said = escape(". ".join(filter(None, (self.title, self.about))), quote=True)
        return (
            f'<svg class="chart" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'role="img" aria-label="{said}">{"".join(body)}</svg>'
        )

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = min(1.0, max(0.0, self.x.at(x)))
        up = min(1.0, max(0.0, self.y.at(y)))
        wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * wide, HEIGHT - BOTTOM - up * high

    def _axes(self) -> Iterator[str]:
        floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        yield f'<text class="title" x="0" y="13">{escape(self.title)}</text>'
        yield f'<text x="0" y="32">{escape(self.y.name)}</text>'
        yield f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{escape(self.x.name)}</text>'
        last = math.inf
        for value, text in self.y.ticks:
            at = self._at(self.x.low, value)[1]
            yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
            if last - at >= LINE + 2:
                last = at
                place = f'x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end"'
                yield f"<text {place}>{escape(text)}</text>"
        yield f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/>'
        end = -math.inf
        for value, text in self.x.ticks:
            half = _wide(text) / 2
            at = self._at(value, self.y.low)[0]
            yield f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 4}"/>'
            middle = min(at, WIDTH - half)
            if middle - half > end + 4:
                end = middle + half
                yield (
                    f'<text x="{middle:.1f}" y="{floor + 17}" text-anchor="middle">'
                    f"{escape(text)}</text>"
                )

    def _placed(self) -> Iterator[str]:
        """Each label right of its point, else left, above, below; else nowhere."""
        taken = list(self._taken)
        for x, y, text in self._labels:
            wide, gap = _wide(text), RADIUS + 3
            for left, base in (
                (x + gap, y + 4), (x - gap - wide, y + 4), (x - wide / 2, y - gap),
                (x - wide / 2, y + gap + 10), (x + gap, y - gap), (x + gap, y + gap + 10),
                (x - gap - wide, y - gap), (x - gap - wide, y + gap + 10),
            ):  # fmt: skip
                box = (left, base - LINE + 1, left + wide, base + 3)
                within = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= TOP - 8
                if within and box[3] <= HEIGHT - BOTTOM and not any(_meet(box, b) for b in taken):
                    taken.append(box)
                    yield f'<text class="label" x="{left:.1f}" y="{base:.1f}">{escape(text)}</text>'
                    break


def _wide(text: str) -> float:
    return LETTER * len(text)


def _meet(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def _shape(shape: str, x: float, y: float) -> str:
    r = RADIUS
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    corners = {
        "square": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "diamond": ((0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)),
        "triangle": ((0, -r - 1), (r + 1, r), (-r - 1, r)),
        "cross": ((-r, -r), (0, -1), (r, -r), (1, 0), (r, r), (0, 1), (-r, r), (-1, 0)),
    }[shape]
    return f'<polygon points="{" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners)}"/>'


@dataclass(frozen=True)
class Drawing:
    """Panels that share their axes. A notebook shows it as it is; so does the page."""

    panels: tuple[str, ...]

    def _repr_html_(self) -> str:
        return f"<style>{STYLE}</style>{self.html}"

    @property
    def html(self) -> str:
        """The panels alone; colours are the page's."""
        return f'<div class="panels">{"".join(self.panels)}</div>'
