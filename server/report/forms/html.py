"""The report as one HTML file: no network, its one script named by its hash.

Text of a run is escaped by Jinja, in figures by `server.report.figures.panel`, and in the scores
that the page carries, which are JSON, by `ESCAPES`. The page's policy allows its own script and no
others, and no connection to anywhere.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from privacy import documents
from server.report.facts.facts import Facts
from server.report.facts.since import Since, as_data, marks_of
from server.report.figures.panel import STYLE
from server.report.page.story import tell
from server.report.words.glossary import GLOSSARY
from server.report.words.shared import common_of
from server.report.words.units import Num
from server.report.words.verdict import verdict

ESCAPES = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def to_html(facts: Facts, before: Since | None = None) -> str:
    """The whole page, and what changed since another."""
    script = _read("page.js")
    carried = documents.to_json(as_data(marks_of(facts.runs))).translate(ESCAPES)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            facts=facts,
            verdict=verdict(facts),
            common=common_of(facts),
            caveats=sorted({run.caveat for run in facts.runs if run.private and run.caveat}),
            story=tell(facts, before),
            before=before,
            scores=Markup(carried),
            glossary=GLOSSARY,
            script=Markup(script),
            style=Markup(STYLE + _read("page.css")),
            policy=_policy(script),
        )
    )


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("server.report.forms"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["number"] = lambda cell: isinstance(cell, Num)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment


def _read(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
