"""The report as JSON: every fact, the verdict and what is missing."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from privacy import documents
from server.report.facts.facts import Facts
from server.report.facts.since import Since, as_data, marks_of
from server.report.words.verdict import verdict


def to_json(facts: Facts, before: Since | None = None) -> str:
    """The whole report, and what changed since another. Pictures are their paths; of what is
    infinite see privacy.documents."""
    said = verdict(facts)
    told = {**_plain(said), "sentence": said.sentence}
    found = {"format": 1, "verdict": told, "scores": as_data(marks_of(facts.runs))}
    if before:
        found["since"] = {**_plain(before), "sentence": before.sentence}
    found |= _plain(facts)
    return documents.to_json(found, indent=1, ascii_only=False) + "\n"


PAIRS = {"settings", "group", "versions", "times_ms", "energy_j", "energy_parts_j", "robustness"}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {
            f.name: _pairs(getattr(value, f.name))
            if f.name in PAIRS
            else _plain(getattr(value, f.name))
            for f in fields(value)
            if f.name != "png"
        }
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _pairs(value: Any) -> Any:
    """Pairs of a name and something, as an object; a plain number stays one."""
    if not isinstance(value, tuple):
        return _plain(value)
    return {str(name): _pairs(item) if _are_pairs(item) else _plain(item) for name, item in value}


def _are_pairs(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(x, tuple) and len(x) == 2 for x in value)
