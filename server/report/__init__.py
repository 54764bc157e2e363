"""The report: what privacy cost and whether it held, on one page, from runs and sweeps.

facts = gather(["mine.sweep"], Path("runs"))
Path("report.html").write_text(to_html(facts))
figures.pareto(facts.runs).show()  # in a notebook
"""

from server.report import figures
from server.report.data import to_json
from server.report.facts import Facts, RunFacts
from server.report.groups import groups_of
from server.report.markdown import to_markdown
from server.report.page import to_html
from server.report.reading import gather
from server.report.verdict import verdict

FORMATS = {"html": to_html, "md": to_markdown, "json": to_json}

__all__ = [
    "FORMATS",
    "Facts",
    "RunFacts",
    "figures",
    "gather",
    "groups_of",
    "to_html",
    "to_json",
    "to_markdown",
    "verdict",
]
