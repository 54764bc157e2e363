"""The report as Markdown: the same facts, figures as their tables, pictures as their paths."""

from server.report.facts.facts import Facts
from server.report.page.blocks import Block, Commands, Panel, Picture, Prose, Table
from server.report.page.story import tell
from server.report.words.units import text
from server.report.words.verdict import verdict

SIGNS = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|!~"} | {"\n": " ", "\r": " "})


def to_markdown(facts: Facts) -> str:
    """The whole report."""
    said = verdict(facts)
    lines = ["# Privacy, utility and cost", "", f"**{escape(said.sentence)}**", ""]
    lines += [f"- {escape(reason)}" for reason in said.reasons]
    for section in tell(facts):
        lines += ["", f"## {escape(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block)]
    made = f"Made by privet {facts.version} at {facts.created}."
    return "\n".join([*lines, "", escape(made), ""])


def escape(words: str) -> str:
    """Text that Markdown, or HTML in it, shall not read as its own."""
    return words.translate(SIGNS).replace("&", "&amp;")


def _block(block: Block) -> list[str]:
    if isinstance(block, Prose):
        return [f"> {escape(block.text)}" if block.kind else escape(block.text)]
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Panel):
        return [f"### {escape(block.title)}", "", escape(block.caption), "", *_rows(block.table)]
    if isinstance(block, Picture):
        rows = "; ".join(block.rows)
        return [
            f"### {escape(block.title)}",
            "",
            f"{escape(block.caption)} {escape(block.path)} (rows: {escape(rows)})",
            "",
            *_rows(block.table),
        ]
    return _commands(block)


def _table(table: Table) -> list[str]:
    return [f"### {escape(table.title)}", "", *_rows(table)]


def _rows(table: Table) -> list[str]:
    head = [_row(map(escape, table.columns)), _row("---" for _ in table.columns)]
    return head + [_row(escape(text(cell)) for cell in row) for row in table.rows]


def _row(cells) -> str:  # type: ignore[no-untyped-def]
    return f"| {' | '.join(cells)} |"


def _commands(block: Commands) -> list[str]:
    lines = [line.replace("\n", " ").replace("\r", " ") for line in block.lines]
    return [f"{escape(block.why)}:", "", *(f"    {line}" for line in lines)]
