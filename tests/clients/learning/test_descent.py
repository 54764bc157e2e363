"""What the owner lets out of a step is as private as the ledger says: audited, and sabotaged.

The server's part is replaced by what it computes, in the clear (tests of steps hold the two
together): an auditor asks for hundreds of steps.
"""

import numpy as np
import pytest

from attacks.audit.steps import Claims, audit_step
from clients.learning import descent
from clients.learning.descent import Descent
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.encrypted.learning import residual as residuals
from privacy.encrypted.learning.residual import Residual

RESIDUAL = Residual.logistic(2.0, 6.0)
SIGMA, FEATURES = 1.0, 12
WORST = np.r_[1.0, -1.0, np.zeros(FEATURES - 2)]  # the direction of weights at their bound


def released(records, labels, seed, noise_multiplier=SIGMA):
    """One step at a point far outside the bound, as the descent takes it in and lets it out."""
    learner = Descent(RESIDUAL, 1.0, 1, Budget(unit="record", noise_multiplier=noise_multiplier), 0)
    x, point = residuals.prepare(records), RESIDUAL.project(100 * WORST[None])
    total = (RESIDUAL.of(x @ point.T) - (labels[:, None] - 0.5)).T @ x
    return {"sum": learner.released(total, Key.of("audit", seed))}


def audited():
    """With a record among the others that moves a step as far as any can."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, FEATURES)), rng.integers(0, 2, 40)
    x[1], y[1] = WORST, RESIDUAL.of(RESIDUAL.bound) < 0
    numbers = {"noise_multiplier": SIGMA, "sample_rate": 1.0, "steps": 1}
    return audit_step(released, Claims(x, y, divided="nothing", **numbers))


def test_the_step_passes_the_audit():
    found = audited()
    assert found.passed, [c for c in found.checks if c.state == "FAILED"]


@pytest.mark.parametrize("sabotage", ["no noise", "half the noise", "no norm", "no bound"])
def test_a_sabotaged_step_fails_it(monkeypatch, sabotage):
    if sabotage in ("no noise", "half the noise"):
        share = 0.0 if sabotage == "no noise" else 0.5
        whole = descent.Noise.integers
        monkeypatch.setattr(
            descent.Noise, "integers", lambda self, d, size: whole(self, share * d, size)
        )
    elif sabotage == "no norm":
        monkeypatch.setattr(residuals, "prepare", lambda x: 3.0 * x)
    else:
        monkeypatch.setattr(Residual, "project", lambda self, weights: weights)
    assert not audited().passed
