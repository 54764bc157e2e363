"""Every number of a statement on a run, in each of its forms, found again in the run's files.

`require(folder)` walks all that stands in the JSON, the Markdown and the HTML. It fails at a number
that is not what another reader of the files comes to (`told_again`), and at one that this reader
knows nothing of, unless it is of the literature (`OF_LAW`).
"""

import json
import re
from html.parser import HTMLParser

from pytest import approx  # noqa: PT013
from told_again import document, inside, names, numbers, texts

from privacy.documents import from_json
from server.report.statement import read_statement, to_html, to_json, to_markdown
from server.run.directory import Run

OF_LAW = ("NIST SP 800-226", "Opinion 28/2024, section 3.2", "95 %")  # no numbers of a run
NUMBER = re.compile(r"(?<![\w.-])[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
RAISED_SIGNS = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
RAISED = str.maketrans(RAISED_SIGNS, "-0123456789")
SHOWN = 6e-4  # four digits


def read_back(shown):
    """A number, and its interval, as people read it."""
    plain = shown.replace("\u00a0", " ").replace("−", "-").replace(",", "").translate(RAISED)
    plain = (
        re.sub(r"(?:([-.\d]+) × )?10(-?\d+)", lambda m: f"{m[1] or 1}e{m[2]}", plain)
        if (set(shown) & set(RAISED_SIGNS))
        else plain
    )
    return [float(found) for found in re.findall(r"infinite|-?\d[.\d]*(?:e-?\d+)?", plain)]


def in_text(text, name=""):
    """The numbers in a text, but for those of the literature and of the run's own name."""
    for known in (*OF_LAW, *([name] if name else [])):
        text = text.replace(known, "")
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def ends(value):
    if not isinstance(value, dict):
        return [value]
    return [value[end] for end in ("value", "low", "high") if value[end] is not None]


def rows_of_markdown(text):
    """Rows of facts, and all else."""
    text = re.sub(r"\\(.)", r"\1", text)
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("| ") and line[2:6] not in ("fact", "--- ")]
    rest = " ".join(line for line in lines if not line.startswith("|"))
    return [tuple(map(squeezed, row[2:-2].split(" | "))) for row in rows], rest


class Rows(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.cells, self.rest, self._into = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self._into = [] if tag == "td" else None if tag in ("th", "style") else self.rest
        self.cells += [self._into] * (tag == "td")

    def handle_endtag(self, tag):
        self._into = self.rest

    def handle_data(self, data):
        if self._into is not None:
            self._into.append(data)


def rows_of_html(page):
    found = Rows(page)
    cells = [squeezed("".join(cell)) for cell in found.cells]
    return list(zip(cells[::3], cells[1::3], cells[2::3], strict=True)), " ".join(found.rest)


def squeezed(text):
    return " ".join(str(text).split())


def require(folder):
    """Fails at the first number that is not found again."""
    run = Run.open(folder)
    told = read_statement(run, beside=[run])
    parts = from_json(to_json(told))["parts"]
    facts = {f"{part}.{key}": f for part, p in parts.items() for key, f in p["facts"].items()}
    expected, copied, within, called = (of(folder) for of in (numbers, texts, inside, names))
    given = {key for key, fact in facts.items() if not isinstance(fact["value"], str | bool | None)}
    assert given == expected.keys(), given ^ expected.keys()
    leakage = json.dumps(document(folder, "leakage.json"), ensure_ascii=False)
    for key, fact in facts.items():
        value, gone = fact["value"], fact.get("missing", "")
        if key in given:
            rel = 0.01 if key == "guarantee.epsilon_full" else 1e-9
            assert ends(value) == approx(ends(expected[key]), rel=rel), key
        elif key in copied and value is not None:
            assert value == copied[key], key
        elif isinstance(value, str):
            assert in_text(value, folder.name) == approx(within.get(key, [])), (key, value)
        assert fact["name"] == called[key] if key in called else not in_text(fact["name"]), fact
        assert not in_text(gone, folder.name) or gone in leakage, gone
        of_file = key.startswith("versions.sha256.") and fact["from"] == key[16:]
        assert of_file or not in_text(fact["from"]), fact["from"]
    words = " ".join(" ".join((p["question"], *p["words"])) for p in parts.values())
    assert not in_text(words), words
    for rows, rest in (rows_of_markdown(to_markdown(told)), rows_of_html(to_html(told))):
        assert len(rows) == len(facts)
        for (name, shown, source), (key, fact) in zip(rows, facts.items(), strict=True):
            assert (name, source) == (squeezed(fact["name"]), squeezed(fact["from"]))
            if key in given:
                assert read_back(shown) == approx(ends(fact["value"]), rel=SHOWN), (key, shown)
            else:
                assert shown == shown_of(fact)
        for fact in facts.values():
            rest = rest.replace(fact["name"], "").replace(fact.get("missing", "\0"), "")
        assert not in_text(rest, folder.name), in_text(rest)


def shown_of(fact):
    value = fact["value"]
    if value is None:
        return squeezed(f"missing: {fact['missing']}")
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else squeezed(value)
