"""Files of findings that were cut, edited, or written by another program."""

import copy
import json
import math
from dataclasses import fields, is_dataclass

import pytest

from server.report import gather, to_html
from server.report.facts import evidence, leaks, reached
from server.report.facts.values import UNREADABLE

FINDINGS = {
    "leakage.json": lambda found: leaks.leakage(found, lambda name: b""),
    "test.json": lambda found: reached.reached(found, 2),
    "audit.json": evidence.audit,
    "cost.json": lambda found: tuple(map(evidence.cost, found)),
    "inference.json": lambda found: tuple(
        evidence.encrypted(scheme, v, v["weights"]) for scheme, v in found.items()
    ),
    "environment.json": evidence.environment,
}
ODD = (
    None, True, -1, 0.5, 1e308, 10**400, math.nan, math.inf, "x", "\ud800", [], {}, [1], {"a": 1},
)  # fmt: skip
FILLED_BY = {
    "leakage.json": "privet attack whole",
    "test.json": "privet evaluate whole",
    "audit.json": "privet audit whole",
    "cost.json": "privet cost whole --chip eyeriss",
    "inference.json": "privet infer whole --scheme ckks --evaluate 20",
}


def places(document, at=()):
    """Where a value can be another: the first two of each list stand for the rest."""
    yield at
    if isinstance(document, dict):
        inside = document.items()
    else:
        inside = enumerate(document[:2]) if isinstance(document, list) else ()
    for key, value in inside:
        yield from places(value, (*at, key))


def altered(document, at):
    """The document with another value at a place, and without it."""
    if not at:
        yield from ODD
        return
    for odd in (*ODD, KeyError):
        other = copy.deepcopy(document)
        node = other
        for key in at[:-1]:
            node = node[key]
        if odd is KeyError:
            del node[at[-1]]
        else:
            node[at[-1]] = odd
        yield other


def wrong(found):
    """What of findings no page can tell."""
    if is_dataclass(found):
        return [bad for f in fields(found) for bad in wrong(getattr(found, f.name))]
    if isinstance(found, dict):
        return wrong(list(found.items()))
    if isinstance(found, tuple | list):
        return [bad for item in found for bad in wrong(item)]
    if isinstance(found, str):
        return [found] * (found != found.encode(errors="replace").decode())
    known = found is None or isinstance(found, bytes | bool | int)
    return [] if known or (isinstance(found, float) and math.isfinite(found)) else [found]


def small(document):
    """Of each list the first two: what is tried grows with the square of a document."""
    if isinstance(document, dict):
        return {key: small(value) for key, value in document.items()}
    return [small(item) for item in document[:2]] if isinstance(document, list) else document


@pytest.mark.parametrize("name", FINDINGS)
def test_each_value_of_a_file_may_be_any_other(folder, name):
    read, document = FINDINGS[name], small(json.loads((folder / "whole" / name).read_text()))
    if name == "cost.json":
        document = document[:1]
    assert wrong(read(document)) == []
    refused = 0
    for at in places(document):
        for other in altered(document, at):
            try:
                assert [bad for bad in wrong(read(other)) if bad != math.inf] == [], (at, other)
            except UNREADABLE:
                refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("name", "place", "value", "says"),
    [
        ("audit.json", ("passed",), None, "None is not true or false"),
        ("audit.json", ("epsilon",), "8", "'8' is not a number"),
        ("audit.json", ("checks",), {}, "{} is not a list"),
        ("leakage.json", ("all_rounds", "attacks", "loss", "epsilon"), -1, "-1 is not a number"),
        ("leakage.json", ("train_test_gap", "train_accuracy"), 7, "7 is not a number from 0 to 1"),
        ("cost.json", (0, "step", "memory", "fits"), 1, "1 is not true or false"),
        ("inference.json", ("ckks", "agreement"), math.nan, "nan is not finite"),
        ("inference.json", ("ckks", "images"), 1.5, "1.5 is not a count"),
        ("inference.json", ("ckks", "weights"), "0" * 64, "'0000000000"),  # of another model
    ],
)
def test_the_page_says_which_file_and_what_fills_its_place(folder, name, place, value, says):
    document = json.loads((folder / "whole" / name).read_text())
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    (folder / "whole" / name).write_text(json.dumps(document))
    facts = gather(["whole"], folder)
    ((file, what),) = facts.runs[0].damaged
    assert (file, what[: len(says)]) == (name, says)
    commands = [m.commands for m in facts.missing if name in m.why]
    assert commands == [(FILLED_BY[key],) for key in FILLED_BY if key == name]
    assert what in to_html(facts).replace("&#39;", "'")


def test_an_audit_that_cannot_be_read_is_not_one_that_nobody_made(folder, privet):
    (folder / "whole/audit.json").write_text('{"passed": true}')
    status, out, _ = privet("report", "whole", "--format", "md")
    assert status == 0
    assert "audit.json cannot be read" in out
    assert "'checks' is missing" in out or "'epsilon' is missing" in out
    assert "nobody audited it" not in out
