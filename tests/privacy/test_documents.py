"""JSON: what is written any reader takes, and nothing is lost by it."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.documents import from_json, to_json

ROOT = Path(__file__).parent.parent.parent
KEYS = st.text(max_size=5) | st.sampled_from(["epsilon", "epsilon_is"])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


@given(value=VALUES)
def test_no_reader_meets_what_is_not_json(value):
    """Whatever is written, and however deep."""
    json.loads(to_json(value), parse_constant=refuse)


@given(value=st.dictionaries(st.sampled_from("abc"), st.floats() | st.none()))
def test_numbers_that_json_has_no_word_for_come_back(value):
    """A missing one stays missing."""
    found = from_json(to_json(value))
    assert found.keys() == value.keys()
    for key, number in value.items():
        assert found[key] == number or (math.isnan(number) and math.isnan(found[key]))


@pytest.mark.parametrize(
    "text", ['{"epsilon": Infinity}', '{"epsilon":null,"epsilon_is":"infinite"}']
)
def test_readers_take_both(text):
    """What Python's own writer left, and what this one does."""
    assert from_json(text) == {"epsilon": math.inf}


def test_a_word_beside_a_number_is_not_touched():
    """Only null is replaced."""
    for told in ({"a": 1, "a_is": "infinite"}, {"a_is": "infinite"}, {"a": None, "a_is": "other"}):
        assert from_json(json.dumps(told)) == told


def test_there_is_no_other_writer():
    """`json.dumps` writes Infinity, and stops halfway where that is forbidden."""
    rooms = ("privacy", "clients", "attacks", "server")
    sources = [p for room in rooms for p in (ROOT / room).rglob("*.py")]
    pattern = re.compile(r"\bjson\.dumps?\(|import dumps?\b")
    assert [p.name for p in sources if pattern.search(p.read_text())] == ["documents.py"]
