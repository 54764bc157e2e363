"""The roofline (Williams et al., CACM 2009): operations a second against those a byte of DRAM."""

from dataclasses import asdict, dataclass
from typing import Any

from clients.chip.cost import Cost
from clients.chip.hardware import Chip
from clients.chip.precision import Precision
from clients.chip.rates import peak_rate


@dataclass(frozen=True)
class Point:
    """One row of a cost. An operation is a multiply or an add: a product has two.

    Attributes:
        intensity: operations a byte that crosses to DRAM.
        operations_per_s: reached. `roof`: the most that this intensity allows.
    """

    layer: str
    phase: str
    intensity: float
    operations_per_s: float
    roof: float
    bound: str


@dataclass(frozen=True)
class Roofline:
    """The roof and the points under it.

    Attributes:
        peak: operations a second of all elements.
        bytes_per_s: of DRAM; 0 where there is none, and the roof is flat.
        ridge: intensity at which the roof turns.
    """

    title: str
    peak: float
    bytes_per_s: float
    ridge: float
    points: tuple[Point, ...]


def roofline(cost: Cost, chip: Chip, precision: Precision) -> Roofline:
    """Plain data of a roofline figure, of the rows that multiply."""
    peak, bytes_per_s = 2 * peak_rate(chip, precision), chip.memory.dram_bytes_per_s
    points = []
    for row in cost.rows:
        if not row.macs:
            continue
        intensity = 2 * row.macs / row.traffic_bytes["dram"]
        roof = min(peak, intensity * bytes_per_s) if bytes_per_s else peak
        points.append(
            Point(row.layer, row.phase, intensity, 2 * row.macs / row.latency_s, roof, row.bound)
        )
    ridge = peak / bytes_per_s if bytes_per_s else 0.0
    return Roofline(f"{cost.network} on {cost.chip}", peak, bytes_per_s, ridge, tuple(points))


def figure(line: Roofline) -> dict[str, Any]:
    """A figure in plotly's JSON (a dict of `data` and `layout`), which needs no plotly to make."""
    lowest = min((p.intensity for p in line.points), default=1.0) / 2
    highest = max([p.intensity for p in line.points] + [line.ridge]) * 2
    roof_x = [lowest, line.ridge, highest] if line.bytes_per_s else [lowest, highest]
    roof_y = [
        min(line.peak, x * line.bytes_per_s) if line.bytes_per_s else line.peak for x in roof_x
    ]
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": "roof", "x": roof_x, "y": roof_y}
    ]
    for phase in dict.fromkeys(p.phase for p in line.points):
        points = [asdict(p) for p in line.points if p.phase == phase]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": phase,
                "x": [p["intensity"] for p in points],
                "y": [p["operations_per_s"] for p in points],
                "text": [f"{p['layer']} ({p['bound']})" for p in points],
            }
        )
    layout = {
        "title": {"text": line.title},
        "xaxis": {"type": "log", "title": {"text": "operations a byte of DRAM"}},
        "yaxis": {"type": "log", "title": {"text": "operations a second"}},
    }
    return {"data": data, "layout": layout}
