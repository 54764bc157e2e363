"""A call of `privet`, the place where it is made, and what must be there if all went well."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def is_any(told):
    """Something is told."""
    return "" if told.strip() else "no answer"


def strict(text):
    """JSON as any reader takes it."""

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@dataclass
class Ask:
    """A call of `privet`, and what is wrong with what came of it if it says that it went well.

    Attributes:
        given: the arguments.
        lacks: of stdout, what is not there that was asked for; empty if all is.
        must_do: it may not be refused: what came before said that it is possible.
    """

    given: list[str]
    lacks: Callable[[str], str] = is_any
    must_do: bool = False


class Place:
    """A folder of its own, where a case happens; runs are copies of a few that are done."""

    def __init__(self, folder, finished):
        self.folder, self.runs, self.finished = folder, folder / "runs", finished

    def run(self, rng, name=""):
        """A finished run, or the one of a name; by its name here."""
        path = rng.choice([path for path in self.finished if not name or path.name == name])
        if not (self.runs / path.name).exists():
            shutil.copytree(path, self.runs / path.name)
        return path.name


def is_json(told):
    try:
        strict(told)
    except ValueError as error:
        return f"JSON that does not parse: {error}"
    return ""


def are_events(told):
    """A JSON object a line, the last of the end."""
    lines = told.splitlines() or [""]
    wrong = next(filter(None, map(is_json, lines)), "")
    return wrong or ("" if strict(lines[-1])["event"] == "end" else "no event of the end")


def is_run(rounds):
    """The path of a run, which has so many rounds (None: some)."""

    def lacks(told):
        path = Path(told.strip())
        if not (path / "rounds.jsonl").is_file():
            return "no run where it says"
        done = len((path / "rounds.jsonl").read_text().splitlines())
        stopped = (path / "stopped.json").exists()
        return "" if done == rounds or stopped or (rounds is None and done) else f"{done} rounds"

    return lacks


def paths_there(told):
    lines = told.splitlines()
    return "" if lines and all(Path(line).exists() for line in lines) else "no file where it says"


def number(told):
    """In the first line; tables may follow."""
    try:
        float(told.strip().partition("\n")[0].rstrip("%"))
    except ValueError:
        return "no number"
    return ""


def wrote(path, lacks=lambda told: ""):
    """A file, besides what was told."""
    return lambda told: lacks(told) or ("" if path.is_file() else f"no {path.name}")
