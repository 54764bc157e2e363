"""Names from files, as they are shown."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from privacy.text import MOST_SHOWN, shown, told_apart


@given(st.text(), st.integers(4, 60))
def test_a_name_is_one_short_line_that_moves_no_cursor(name, most):
    line = shown(name, most)
    assert 0 < len(line) <= most
    wrong = {"Cc", "Cs", "Zl", "Zp", "Co", "Cn"}
    assert not [c for c in line if unicodedata.category(c) in wrong]
    assert not set(line) & set("\u202a\u202e\u2066\u2069\x1b\n\r")


def test_what_is_short_and_plain_stays_as_it_is():
    assert shown("walking upstairs") == "walking upstairs"
    assert shown("می‌روم") == "می‌روم"
    long = "x" * 5000 + " of class 7"
    assert shown(long).endswith("of class 7")
    assert len(shown(long)) == MOST_SHOWN


def test_names_that_are_alike_when_short_are_told_apart():
    middle = [f"{'a' * 100}{n}{'b' * 100}" for n in range(3)]
    assert len(set(told_apart([*middle, "c"]))) == 4
    assert told_apart(["c", "d"]) == ["c", "d"]
    assert len(set(told_apart(["c", "c", "c (0)"]))) == 3
