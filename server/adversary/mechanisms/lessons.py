"""A lesson's noisy step before the auditor: what an owner lets out of a decrypted gradient.

`clients.learning.descent` is asked, with the lesson's own polynomial, bound and noise, at weights
as an enemy would choose them: where the polynomial is largest, and in the direction of one of the
records, whose residuals they make as long as they can be. What the server computes stands there in
the clear; the tests of `privacy.encrypted.learning` hold the two together.
"""

import math

import numpy as np
from numpy.typing import NDArray

from attacks.audit.steps import Claims, Found, audit_step
from clients.learning.descent import Descent
from clients.learning.settings import Lesson
from clients.learning.shares import residual_of
from privacy.cipher import Key
from privacy.encrypted.learning.course import Course
from privacy.encrypted.learning.residual import prepare
from privacy.errors import SettingsError

RECORDS, FEATURES = 40, 12  # drawn: norms are all that the claim rests on
FAR = 100.0  # times the bound, from where weights are brought back


def audit_lesson(lesson: Lesson) -> Found:
    """Audit one step of a lesson; the ledger adds them up.

    Raises:
        SettingsError: it promises nothing.
    """
    budget = lesson.resolve().budget
    if budget.noise_multiplier is None:
        raise SettingsError("[budget] unit = 'none': there is no promise to audit")
    residual, rng = residual_of(lesson), np.random.default_rng(0)
    x = rng.normal(size=(RECORDS, FEATURES))
    y = rng.integers(0, max(2, residual.outputs), RECORDS)
    x[1] = prepare(x[1:2])
    against = -math.copysign(FAR * residual.bound, residual.along(residual.peak))
    point = residual.project(against * residual.targets(y[1:2]).T * x[1:2])
    point *= residual.peak / residual.bound
    course = Course(
        blocks=1, features=FEATURES, outputs=residual.outputs, cubic=residual.cubic > 0,
        offset=residual.offset, packed=True, joint=residual.joint,
    )  # fmt: skip
    error = course.error(residual.most)

    def make(
        records: NDArray,
        labels: NDArray,
        seed: int,
        noise_multiplier: float = budget.noise_multiplier,
    ) -> dict[str, NDArray]:
        chosen = budget.model_copy(update={"noise_multiplier": noise_multiplier})
        descent = Descent(residual, lesson.learning.rate, len(records), chosen, error)
        inputs = prepare(records)
        rests = residual.of(inputs @ point.T) - residual.targets(labels)
        return {"sum": descent.released(rests.T @ inputs, Key.of("audit", seed))}

    claims = Claims(
        x, y, noise_multiplier=budget.noise_multiplier, sample_rate=1.0, steps=1,
        delta=budget.delta, divided="nothing",
    )  # fmt: skip
    return audit_step(make, claims)
