"""The report: what privacy cost and whether it held, on one page, from runs and sweeps.

facts = gather(["mine.sweep"], Path("runs"))
Path("report.html").write_text(to_html(facts))
figures.pareto(facts.runs)  # in a notebook

facts/      what it tells, read from runs
words/      how it speaks
figures/    what it draws
page/       what a page tells
forms/      HTML, PDF, Markdown, JSON
statement/  on one run: what is promised, by which means, and with what evidence
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.report import figures
    from server.report.facts.facts import Facts, RunFacts
    from server.report.facts.groups import groups_of
    from server.report.facts.reading import gather, is_there
    from server.report.facts.since import Since, marks_of, read_marks, since
    from server.report.forms.data import to_json
    from server.report.forms.html import to_html
    from server.report.forms.markdown import changes_to_markdown, to_markdown
    from server.report.forms.pdf import to_pdf
    from server.report.words.verdict import verdict

__all__ = [
    "Facts",
    "RunFacts",
    "Since",
    "changes_to_markdown",
    "figures",
    "gather",
    "groups_of",
    "is_there",
    "marks_of",
    "read_marks",
    "since",
    "to_html",
    "to_json",
    "to_markdown",
    "to_pdf",
    "verdict",
]

_PLACES = {
    "Facts": "facts.facts",
    "RunFacts": "facts.facts",
    "groups_of": "facts.groups",
    "gather": "facts.reading",
    "is_there": "facts.reading",
    "Since": "facts.since",
    "marks_of": "facts.since",
    "read_marks": "facts.since",
    "since": "facts.since",
    "to_json": "forms.data",
    "to_html": "forms.html",
    "to_markdown": "forms.markdown",
    "changes_to_markdown": "forms.markdown",
    "to_pdf": "forms.pdf",
    "verdict": "words.verdict",
}


def __getattr__(name: str) -> Any:
    """Each when it is asked for: `privet show` needs a few lines of a report, and no figures."""
    if name not in _PLACES:
        raise AttributeError(name)
    return getattr(import_module(f"server.report.{_PLACES[name]}"), name)
