"""The report: what privacy cost and whether it held, on one page, from runs and sweeps.

facts = gather(["mine.sweep"], Path("runs"))
Path("report.html").write_text(to_html(facts))
figures.pareto(facts.runs).show()  # in a notebook

facts/      what it tells, read from runs
words/      how it speaks
figures/    what it draws
page/       its sections, and its forms
statement/  on one run: what is promised, by which means, and with what evidence
"""

from server.report import figures
from server.report.facts.facts import Facts, RunFacts
from server.report.facts.groups import groups_of
from server.report.facts.reading import gather, is_there
from server.report.page.data import to_json
from server.report.page.html import to_html
from server.report.page.markdown import to_markdown
from server.report.words.verdict import verdict

FORMATS = {"html": to_html, "md": to_markdown, "json": to_json}

__all__ = [
    "FORMATS",
    "Facts",
    "RunFacts",
    "figures",
    "gather",
    "groups_of",
    "is_there",
    "to_html",
    "to_json",
    "to_markdown",
    "verdict",
]
