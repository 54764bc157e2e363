"""The report as one HTML file: no network, every script in it named by its hash.

Text of a run is escaped by Jinja; what figures need is JSON in which `<` and `&` are escapes. The
page's policy allows its own two scripts and no others, and no connection to anywhere.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from server.report.facts.facts import Facts
from server.report.page.blocks import Panel, Section
from server.report.page.story import tell
from server.report.page.tiles import subject_of, tiles_of
from server.report.words.glossary import GLOSSARY
from server.report.words.units import Num
from server.report.words.verdict import verdict

ESCAPES = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def to_html(facts: Facts) -> str:
    """The whole page."""
    sections = tell(facts)
    plotly, script, style = get_plotlyjs(), _read("page.js"), _read("page.css")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            facts=facts,
            verdict=verdict(facts),
            tiles=tiles_of(facts),
            subject=subject_of(facts.runs),
            sections=sections,
            glossary=GLOSSARY,
            plotly=Markup(plotly),
            script=Markup(script),
            style=Markup(style),
            policy=_policy(plotly, script),
            figures={p.key: Markup(_data(p)) for s in sections for p in _panels(s)},
        )
    )


def _panels(section: Section) -> list[Panel]:
    return [block for block in section.blocks if isinstance(block, Panel)]


def _data(panel: Panel) -> str:
    """A figure's data and layout as JSON that cannot end its script."""
    text: str = panel.figure.to_json(validate=False)
    return text.translate(ESCAPES)


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
        loader=PackageLoader("server.report.page"),
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
