"""A line of rounds.jsonl: whole, or refused; whatever is wrong with it."""

import json

import pytest

from server.run.rounds import ClientRecord, RoundRecord

SEEN = {"members": 3, "single_updates": 0}
WHOLE = RoundRecord(1, 0.5, 0.1, [ClientRecord(0, 10, "[[1.0, 0.5, 3]]")], secure=SEEN)


def test_a_record_comes_back_as_it_was():
    assert RoundRecord.from_json(WHOLE.to_json()) == WHOLE


def alter(*path, value):
    """The line, in which one value is another (None: gone)."""
    fields = json.loads(WHOLE.to_json())
    node = fields
    for key in path[:-1]:
        node = node[key]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return json.dumps(fields)


@pytest.mark.parametrize(
    "line",
    [
        alter("round", value=None),
        alter("round", value="x"),
        alter("clients", value=7),
        alter("clients", value=[1]),
        alter("clients", 0, "client", value=[]),
        alter("clients", 0, "ledger", value="{"),
        alter("clients", 0, "ledger", value="[[1, 2, 3]]"),
        alter("clients", 0, "ledgers", value="[]"),
        alter("accuracy", value="high"),
        alter("client_metrics", value=[1]),
        alter("secure", "members", value=None),
        alter("secure", "single_updates", value="x"),
        alter("more", value=1),
        "[]",
        "null",
        "[" * 100_000,
        "",
    ],
)
def test_what_is_not_a_record_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011
        RoundRecord.from_json(line)
