"""An audit of steps that are not ours: faults of the museum are red, what is right is not."""

import museum
import numpy as np
import pytest

from attacks.audit import Claims, audit_step
from privacy.errors import SettingsError

X, Y = museum.records()
CLAIMS = Claims(X, Y, museum.SIGMA, museum.RATE, museum.STEPS)
# One of each kind of check; all of them: tests/acceptance/strangers.py.
SAMPLE = ("frozen layers counted", "zero batch skipped", "same seed each epoch",
          "shuffling counted as Poisson", "mixed precision overflow")  # fmt: skip


def states(found):
    return {check.name: check.state for check in found.checks}


def test_what_is_right_passes_and_each_check_was_made():
    found = audit_step(museum.maker(), CLAIMS)
    assert found.passed
    assert set(states(found).values()) == {"passed", "not applicable"}
    assert found.to_dict()["passed"] is True


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value).*")
@pytest.mark.parametrize("fault", SAMPLE)
def test_a_fault_is_red(fault):
    assert not audit_step(museum.maker(fault), CLAIMS).passed


def test_what_the_function_has_no_handle_for_is_impossible_and_never_passed():
    def sealed(x, y, seed):
        return museum.maker()(x, y, seed)

    found = audit_step(sealed, CLAIMS)
    told = states(found)
    assert told["sensitivity"] == told["sampling"] == told["empty batches"] == "impossible"
    assert told["twins"] == "passed"
    assert found.passed  # noise, its repetition and the game were

    silent = audit_step(lambda x, y, seed: museum.maker()(x, y, 0), CLAIMS)
    assert states(silent)["noise"] == "FAILED"


def test_only_epsilon_may_be_claimed_and_one_below_its_parts_is_red():
    few = Claims(X, Y, epsilon=6.0)
    assert states(audit_step(museum.maker(), few))["sensitivity"] == "not applicable"
    low = Claims(X, Y, museum.SIGMA, museum.RATE, museum.STEPS, epsilon=2.0)
    assert states(audit_step(museum.maker(), low))["accounting"] == "FAILED"


def test_a_step_that_stops_is_not_a_step_that_passed():
    def broken(x, y, seed):
        raise ZeroDivisionError("no batch")

    found = audit_step(broken, CLAIMS)
    assert not found.passed
    assert "ZeroDivisionError: no batch" in found.checks[1].measured
    with pytest.raises(SettingsError, match="arrays by name"):
        audit_step(lambda x, y, seed: 3, CLAIMS)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"labels": Y[:3]}, "24 records and 3 labels"),
        ({"sample_rate": 2.0}, "sample_rate"),
        ({"steps": None}, "say epsilon"),
        ({"neighbours": "twins"}, "neighbours"),
        ({"divided": "bach"}, "did you mean batch"),
    ],
)
def test_claims_that_are_none_are_refused(wrong, told):
    right = dict(records=X, labels=Y, noise_multiplier=1.0, sample_rate=0.1, steps=3)
    with pytest.raises(SettingsError, match=told):
        Claims(**right | wrong)


def test_canaries_prove_half_of_epsilon_8_in_one_run():
    """Of records at right angles to one another, as the claim's accountant would have it."""
    x, y = np.eye(400), np.zeros(400, int)

    def step(x, y, seed, noise_multiplier=0.55, sample_rate=1.0, steps=1):
        noise = np.random.default_rng(seed).normal(size=400) * noise_multiplier
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        return {"sum": (x / np.maximum(1, norms)).sum(0) + noise}

    claims = Claims(x, y, 0.55, 1.0, 1, divided="nothing")
    found = audit_step(step, claims)
    assert found.passed
    assert max(bound.epsilon for bound in found.bounds) > 0.5 * found.epsilon
