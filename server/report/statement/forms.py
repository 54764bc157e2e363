"""A statement as HTML (one file, no script, no network), as Markdown, and as JSON."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from markupsafe import escape as html

from privacy.documents import to_json as json_of
from server.report.facts.findings import Interval
from server.report.facts.reached import Measure
from server.report.forms.markdown import escape
from server.report.statement.statement import Fact, Statement

TITLE = "Statement on privacy"
LAID_OUT = (
    "Laid out after the questions of NIST SP 800-226, Guidelines for Evaluating Differential "
    "Privacy Guarantees. Each fact names the file of the run that it was read from."
)
NONE_MISSING = "Nothing that this statement asks for is missing."
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}h2{margin-top:2.5rem}table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ccc;"
    "overflow-wrap:anywhere}.missing{color:#8a1c00;font-weight:600}.from{color:#555;"
    "font-size:.85em}.question{font-style:italic}@media print{body{margin:0;max-width:none}}"
)


def to_markdown(told: Statement) -> str:
    """The whole statement."""
    lines = [f"# {TITLE}: {escape(told.run)}", "", LAID_OUT, "", "## Missing", ""]
    lines += [f"- {escape(one)}" for one in _missing(told)]
    for part in told.parts:
        lines += ["", f"## {escape(part.title)}", "", f"*{escape(part.question)}*", ""]
        lines += [line for words in part.words for line in (escape(words), "")]
        if part.facts:
            lines += ["| fact | | from |", "| --- | --- | --- |"]
            lines += [
                f"| {escape(f.name)} | {escape(f.shown)} | {escape(f.source)} |" for f in part.facts
            ]
    return "\n".join([*lines, ""])


def to_html(told: Statement) -> str:
    """The whole statement as a page."""
    heading = html(f"{TITLE}: {told.run}")
    lines = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">",
        f"<title>{heading}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{heading}</h1><p>{html(LAID_OUT)}</p><h2>Missing</h2><ul>",
        *(f"<li>{html(one)}</li>" for one in _missing(told)),
        "</ul>",
    ]
    for part in told.parts:
        lines.append(f"<section><h2>{html(part.title)}</h2>")
        lines.append(f'<p class="question">{html(part.question)}</p>')
        lines += [f"<p>{html(words)}</p>" for words in part.words]
        if part.facts:
            lines.append("<table><thead><tr><th>fact</th><th>value</th><th>from</th></tr></thead>")
            lines += [f"<tbody>{''.join(map(_row, part.facts))}</tbody></table>"]
        lines.append("</section>")
    return "\n".join([*lines, "</main></body></html>", ""])


def _row(fact: Fact) -> str:
    kind = ' class="missing"' if fact.value is None else ""
    return (
        f"<tr><td>{html(fact.name)}</td><td{kind}>{html(fact.shown)}</td>"
        f'<td class="from">{html(fact.source)}</td></tr>'
    )


def to_json(told: Statement) -> str:
    """For programs: exact values; an interval is an object."""
    parts: dict[str, Any] = {}
    for part in told.parts:
        facts = {f.key: _value(f) | {"name": f.name, "from": f.source} for f in part.facts}
        parts[part.key] = {"question": part.question, "words": part.words, "facts": facts}
    missing = [f"{part.key}.{fact.key}" for part, fact in told.missing]
    return json_of({"run": told.run, "missing": missing, "parts": parts}, indent=1)


def _value(fact: Fact) -> dict[str, Any]:
    if fact.value is None:
        return {"value": None, "missing": fact.remedy or "not known"}
    if isinstance(fact.value, Interval | Measure):
        return {"value": asdict(fact.value)}
    return {"value": fact.value}


def _missing(told: Statement) -> list[str]:
    return [
        f"{part.title}: {fact.name} ({fact.remedy or 'not known'})" for part, fact in told.missing
    ] or [NONE_MISSING]


FORMS: dict[str, Callable[[Statement], str]] = {
    "html": to_html,
    "md": to_markdown,
    "json": to_json,
}
