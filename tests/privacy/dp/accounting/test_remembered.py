"""Noise that was solved before is asked of the accountant again, and not sought."""

import json
import math

import pytest

from privacy import memo
from privacy.dp.accounting import prv, solving
from privacy.dp.accounting.memo import NAME

ASKED = (2.0, 1e-5, 0.05, 100)


@pytest.fixture
def solve(tmp_path, monkeypatch):
    """Asked as by a process of its own: the accountant's answers of this one are forgotten."""
    monkeypatch.setattr(memo, "MOST", 8)
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path))

    def solve(asked=ASKED):
        solving.solve_noise_multiplier.cache_clear()
        prv.epsilon_spent.cache_clear()
        memo._known.cache_clear()
        found = solving.solve_noise_multiplier(*asked)
        return found, prv.epsilon_spent.cache_info().misses

    return solve


def change(folder, told):
    path = folder / NAME
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), told)))


def test_the_same_noise_after_one_question(solve):
    sigma, questions = solve()
    assert questions > 1
    assert solve() == (sigma, 1)


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.01, 100.0, 0.0])
def test_noise_that_somebody_wrote_there_is_not_taken(solve, tmp_path, factor):
    sigma, _ = solve()
    change(tmp_path, sigma * factor)
    assert solve()[0] == sigma


@pytest.mark.parametrize(
    "told", [math.inf, "much", None, -1.0, True, pytest.param(10**400, id="beyond floats")]
)
def test_nor_what_is_no_noise(solve, tmp_path, told):
    sigma, _ = solve()
    change(tmp_path, told)
    assert solve()[0] == sigma


def test_of_where_secants_do_not_lead(solve):
    """delta alone hides everything: halving's answer is not near the target, and is found anew."""
    asked = (1.0, 0.4, 0.001, 1)
    assert solve(asked)[0] == solve(asked)[0] == solving.LEAST_NOISE_MULTIPLIER
