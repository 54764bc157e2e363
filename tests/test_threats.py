"""compose/THREATS.md: what is named as the test of a claim, or as its check, exists."""

import ast
from pathlib import Path

from attacks.audit.verdict import CHECKS

ROOT = Path(__file__).parent.parent
NOT_EXAMINED = "not examined"
# Of what stands around the step, and of a run's ledgers.
BESIDE = {"after the release", "node charging", "node noise", "ledgers"}


def rows():
    """Claim, unit, who is trusted, test, check: of each line of the table."""
    section = (ROOT / "compose/THREATS.md").read_text().partition("## What is claimed")[2]
    table = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_every_claim_has_a_test_that_exists():
    assert len(rows()) >= 16
    for claim, unit, trusted, test, _ in rows():
        assert unit
        assert trusted
        path, _, name = test.strip("`").partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, claim


def test_every_check_of_the_audit_stands_beside_a_claim():
    named = {
        name.strip()
        for *_, check in rows()
        if not check.startswith(NOT_EXAMINED)
        for name in check.split(",")
    }
    assert named == (set(CHECKS) - {"beside"}) | BESIDE


def test_what_stands_beside_the_step_is_named_so_where_it_is_made():
    made = "".join(path.read_text() for path in (ROOT / "server/adversary").glob("*.py"))
    made += (ROOT / "attacks/audit/verdict.py").read_text()
    assert all(f'"{name}' in made for name in BESIDE)
