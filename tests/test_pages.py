"""The tests' own page names tests that are there."""

import re
from pathlib import Path

HERE = Path(__file__).parent
NAMED = re.compile(r"`([\w/]*\.py)?::(test_\w+)`")


def test_each_case_from_the_field_has_its_test():
    section = (HERE / "README.md").read_text().partition("## Cases from the field")[2]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 25
    for row in rows:
        names = NAMED.findall(row)
        assert names, row
        file = ""
        for path, name in names:
            file = path or file
            assert f"\ndef {name}(" in (HERE.parent / file).read_text(), f"{file}::{name}"
