"""Figures of privacy and utility, as plotly figures that a notebook shows as they are.

    from server.report import gather, figures
    facts = gather(["mine.sweep"], Path("runs"))
    figures.pareto(facts.runs).show()

tradeoffs   accuracy, epsilon, leakage
devices     cost by layer, rooflines, encrypted questions, budgets
confusion   what is taken for what
recordings  what was recorded over time
style       how all of them look
"""

from server.report.figures.confusion import confusion_matrix
from server.report.figures.devices import (
    encrypted_times,
    energy_by_layer,
    latency_by_layer,
    roofline,
    spent_by_client,
)
from server.report.figures.recordings import recordings
from server.report.figures.tradeoffs import (
    accuracy_by_epsilon,
    claimed_and_audited,
    pareto,
    roc,
)

__all__ = [
    "accuracy_by_epsilon",
    "claimed_and_audited",
    "confusion_matrix",
    "encrypted_times",
    "energy_by_layer",
    "latency_by_layer",
    "pareto",
    "recordings",
    "roc",
    "roofline",
    "spent_by_client",
]
