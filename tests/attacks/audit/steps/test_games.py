"""Bounds of epsilon from a training that is done: they hold, and rise where nothing protects."""

import numpy as np

from attacks.audit.canaries import mu_of
from attacks.audit.steps.games import of_members

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
