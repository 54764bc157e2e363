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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.report import figures
    from server.report.facts.facts import Facts, RunFacts
    from server.report.facts.groups import groups_of
    from server.report.facts.reading import gather, is_there
    from server.report.page.data import to_json
    from server.report.page.html import to_html
    from server.report.page.markdown import to_markdown
    from server.report.words.verdict import verdict

__all__ = [
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

_PLACES = {
    "Facts": "facts.facts",
    "RunFacts": "facts.facts",
    "groups_of": "facts.groups",
    "gather": "facts.reading",
    "is_there": "facts.reading",
    "to_json": "page.data",
    "to_html": "page.html",
    "to_markdown": "page.markdown",
    "verdict": "words.verdict",
}


def __getattr__(name: str) -> Any:
    """Each when it is asked for: `privet show` needs a few lines of a report, and no figures."""
    if name not in _PLACES:
        raise AttributeError(name)
    return getattr(import_module(f"server.report.{_PLACES[name]}"), name)
