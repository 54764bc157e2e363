"""A Hugging Face model card: the facts of the statement, under the metadata that a hub reads."""

from pathlib import Path

from privacy.documents import to_json
from privacy.files import write_atomically
from server.report.statement import read_statement, to_markdown
from server.report.statement.statement import Fact, Statement
from server.run.directory import Run

TAGS = ("differential-privacy", "federated-learning", "privet")


def to_card(run: Run, path: Path) -> list[str]:
    """Write the card.

    Raises:
        PrivetError: the run's settings or rounds are damaged.
    """
    text = card_of(read_statement(run))
    with write_atomically(path) as file:
        file.write(text.encode())
    return [str(path)]


def card_of(told: Statement) -> str:
    """The card of a statement. JSON is YAML, so each value is quoted as JSON quotes it."""
    facts = {f"{part.key}.{fact.key}": fact for part in told.parts for fact in part.facts}
    figures = [
        {"type": key.rpartition(".")[2], "value": fact.value.value}  # type: ignore[union-attr]
        for key, fact in facts.items()
        if key.startswith("utility.figure.") and fact.value is not None
    ]
    result = {
        "task": {"type": _of(facts, "purpose.task")},
        "dataset": {"name": _of(facts, "data.dataset"), "type": _of(facts, "data.dataset")},
        "metrics": figures,
    }
    private = [TAGS[0]] if _of(facts, "guarantee.unit") != "none" else []
    about = {
        "library_name": "privet",
        "tags": [*private, *TAGS[1:]],
        "model-index": [{"name": told.run, "results": [result] if figures else []}],
    }
    head = "".join(f"{key}: {to_json(value, ascii_only=False)}\n" for key, value in about.items())
    return f"---\n{head}---\n\n{to_markdown(told)}"


def _of(facts: dict[str, Fact], key: str) -> str:
    return str(facts[key].value)
