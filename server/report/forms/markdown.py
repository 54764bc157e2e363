"""The report as Markdown: the same facts, figures as their tables, pictures as their paths."""

from collections.abc import Iterable, Iterator

from server.report.facts.facts import Facts
from server.report.facts.since import Since
from server.report.page.blocks import Block, Commands, Panel, Picture, Prose, Section, Table
from server.report.page.changes import changes
from server.report.page.matrix import as_table
from server.report.page.story import tell
from server.report.words.shared import common_of
from server.report.words.units import text
from server.report.words.verdict import verdict

SIGNS = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|!~"} | {"\n": " ", "\r": " "})


def to_markdown(facts: Facts, before: Since | None = None) -> str:
    """The whole report, and what changed since another."""
    said, story = verdict(facts), tell(facts, before)
    lines = ["# Privacy, utility and cost", "", escape(common_of(facts)), ""]
    lines += [f"**{escape(said.sentence)}**", ""]
    lines += [f"- {escape(reason)}" for reason in said.reasons]
    lines += ["", *_table(as_table(story.matrix))]
    lines += _sections(story.sections, "##")
    for dossier in story.dossiers:
        lines += ["", f"## Evidence: {escape(dossier.title)}", "", escape(dossier.about)]
        lines += _sections(dossier.parts, "###")
    lines += _sections(story.tables, "##")
    made = f"Made by privet {facts.version} at {facts.created}."
    return "\n".join([*lines, "", escape(made), ""])


def changes_to_markdown(found: Since) -> str:
    """What changed between two reports alone."""
    return "\n".join([*_sections([changes(found)], "#"), ""]).lstrip("\n")


def _sections(sections: Iterable[Section], mark: str) -> Iterator[str]:
    for section in sections:
        yield from ("", f"{mark} {escape(section.title)}")
        for block in section.blocks:
            yield from ("", *_block(block))


def escape(words: str) -> str:
    """Text that Markdown, or HTML in it, shall not read as its own."""
    return words.translate(SIGNS).replace("&", "&amp;")


def _block(block: Block) -> list[str]:
    if isinstance(block, Prose):
        return [f"> {escape(block.text)}" if block.kind else escape(block.text)]
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Panel):
        return [f"#### {escape(block.title)}", "", escape(block.caption), "", *_rows(block.table)]
    if isinstance(block, Picture):
        rows = "; ".join(block.rows)
        return [
            f"#### {escape(block.title)}",
            "",
            f"{escape(block.caption)} {escape(block.path)} (rows: {escape(rows)})",
            "",
            *_rows(block.table),
        ]
    return _commands(block)


def _table(table: Table) -> list[str]:
    return [f"#### {escape(table.title)}", "", *_rows(table)]


def _rows(table: Table) -> list[str]:
    head = [_row(map(escape, table.columns)), _row("---" for _ in table.columns)]
    return head + [_row(escape(text(cell)) for cell in row) for row in table.rows]


def _row(cells) -> str:  # type: ignore[no-untyped-def]
    return f"| {' | '.join(cells)} |"


def _commands(block: Commands) -> list[str]:
    lines = [line.replace("\n", " ").replace("\r", " ") for line in block.lines]
    return [f"{escape(block.why)}:", "", *(f"    {line}" for line in lines)]
