"""What is told of epsilon, and of what a record moves, holds; and rises where nothing protects."""

from functools import partial

import numpy as np

from attacks.audit import Claims
from attacks.audit.canaries import mu_of
from attacks.audit.steps.asking import Asked
from attacks.audit.steps.games import apart, of_members
from attacks.audit.steps.moved import sensitivity

DELTA = 1e-6


def test_bounds_hold_of_what_keeps_its_claim_and_refute_what_does_not():
    rng = np.random.default_rng(0)
    above = 0
    for _ in range(40):
        member = rng.random(400) < 0.5
        kept = mu_of(1.0, DELTA) * member + rng.normal(size=400)
        bounds, check = of_members(kept, member, 1.0, DELTA)
        above += bounds[0].epsilon > 1.0
        assert check.state == "passed"
    assert above <= 6  # of 40 at a chance of 5 %: more in 1 of 300
    bounds, check = of_members(kept + 4 * member, member, 1.0, DELTA)
    assert check.state == "FAILED"
    assert bounds[0].epsilon > 3


def test_canaries_that_share_a_bias_stand_apart_without_it():
    """What is left shows each its own alone, and little of it is lost."""
    rows = np.concatenate([10 * np.eye(50), np.ones((50, 1)), np.eye(50)[:, :3]], 1)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    own = apart(np.concatenate([units, units[:1]]))  # and one who has a twin
    likeness = np.abs(own[1:50] @ own[1:50].T - np.eye(49))
    assert likeness.max() < 0.01
    assert ((own[1:50] * units[1:]).sum(1) > 0.98).all()
    assert own[0] @ own[50] > 0.98  # a twin stays one: the two are then too much alike


def test_a_bias_of_three_numbers_is_no_false_alarm():
    """Its noise is that of the whole step, of which three numbers by themselves tell little; and
    noise that is a fifth too small is told all the same."""

    def step(x, y, seed, noise_multiplier=1.0, short=1.0):
        noise = short * noise_multiplier * np.random.default_rng(seed).normal(size=303)
        total = np.array([len(x), 0, 0])
        return {"weight": noise[3:], "bias": total + noise[:3]}

    x, y = np.ones((4, 2)), np.zeros(4, int)
    claims = Claims(x, y, noise_multiplier=1.0, sample_rate=1.0, steps=1, divided="nothing")
    for seed in range(40):
        assert sensitivity(Asked(step, claims, seed)).state == "passed"
    assert sensitivity(Asked(partial(step, short=0.8), claims)).state == "FAILED"
