"""The statement: the paper on one run that a data-protection officer files.

told = read_statement(Run.open("runs/mine"), purpose="...")
Path("mine.md").write_text(to_markdown(told))

statement  what it consists of: parts, each of a question and facts, each with its source
guarantee  what was promised and spent, and what that is in odds
evidence   what was audited, what attacks found, what the model is good for
standing   whose data, who is trusted, what is not covered, what the law asks, versions and hashes
reading    Run -> Statement
forms      HTML, Markdown, JSON
"""

from server.report.statement.forms import FORMS, to_html, to_json, to_markdown
from server.report.statement.reading import read_statement
from server.report.statement.statement import Fact, Part, Statement

__all__ = [
    "FORMS",
    "Fact",
    "Part",
    "Statement",
    "read_statement",
    "to_html",
    "to_json",
    "to_markdown",
]
