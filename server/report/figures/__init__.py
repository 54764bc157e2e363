"""Figures of privacy and utility, as SVG that a notebook shows as it is and a page needs no script
for.

    from server.report import gather, figures
    facts = gather(["mine.sweep"], Path("runs"))
    figures.pareto(facts.runs)

panel      a small chart: axes with numbers, marks with intervals, labels
tradeoffs  accuracy against epsilon, leakage, time
curves     of one run: rounds, ROC, roofline, speed-up, recordings
"""

from server.report.figures.curves import recordings, roc, roofline, rounds, speed_ups
from server.report.figures.panel import Drawing
from server.report.figures.tradeoffs import accuracy_by_epsilon, latency, pareto

__all__ = [
    "Drawing",
    "accuracy_by_epsilon",
    "latency",
    "pareto",
    "recordings",
    "roc",
    "roofline",
    "rounds",
    "speed_ups",
]
