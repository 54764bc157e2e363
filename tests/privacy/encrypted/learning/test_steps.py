"""An encrypted step's gradient is the plain one, and what one record adds to it is bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.encrypted.learning.course import SLOTS, Course
from privacy.encrypted.learning.owner import Owner
from privacy.encrypted.learning.residual import Residual, prepare
from privacy.encrypted.learning.steps import Steps
from privacy.errors import CiphertextError

LOGISTIC, LINEAR = Residual.logistic(12.0, 24.0), Residual.linear(2.0)


def course_of(residual, num, features, outputs, packed):
    return Course(
        blocks=-(-num // SLOTS),
        features=features,
        outputs=outputs,
        cubic=residual.cubic > 0,
        offset=residual.offset,
        packed=packed,
    )


def drawn(num, features, outputs, seed=0):
    rng = np.random.default_rng(seed)
    x = prepare(rng.normal(size=(num, features)))
    t = rng.choice([-0.5, 0.5], (num, outputs))
    return x, t, rng.normal(size=(outputs, features))


@pytest.mark.parametrize(
    ("residual", "num", "features", "outputs", "packed"),
    [
        (LOGISTIC, SLOTS + 30, 5, 1, True),
        (LINEAR, 40, 4, 3, True),
        (LOGISTIC, 40, 3, 2, False),
        (LINEAR, 40, 1, 1, True),
    ],
)
def test_an_encrypted_gradient_is_the_plain_one(residual, num, features, outputs, packed):
    """The oracle is the sum, record by record; the error stays within what is reckoned with."""
    x, t, w = drawn(num, features, outputs)
    w = residual.project(20 * w)
    course = course_of(residual, num, features, outputs, packed)
    owner = Owner(course)
    steps = Steps(course, owner.evaluation())
    for block in range(course.blocks):
        steps.add_block(block, owner.encrypt_block(block, x, t))
    letters = owner.encrypt_weights(w * residual.unit)
    assert len(letters) == (1 if packed else features * outputs)
    answer = tuple(steps.gradient(letters))
    found = owner.decrypt(answer, residual.sensitivity)
    expected = np.zeros((outputs, features))
    for record, target in zip(x, t, strict=True):
        m = w @ record
        q = residual.slope * m - residual.cubic * m**3
        expected += np.outer(q - target, record)
    assert np.linalg.norm(found - expected) < course.error(residual.sensitivity) / 2
    with pytest.raises(CiphertextError, match="another key"):
        Owner(course).decrypt(answer, residual.sensitivity)


def test_what_does_not_belong_into_a_step_is_refused():
    course = course_of(LINEAR, 10, 2, 1, True)
    owner, other = Owner(course), Owner(course)
    x, t, w = drawn(10, 2, 1)
    steps = Steps(course, owner.evaluation())
    block = owner.encrypt_block(0, x, t)
    letter = owner.encrypt_weights(w)
    for parts, text in [
        (block[:2], "a block has 3"),
        ((*block[:2], block[0]), "another level"),
        ((b"", *block[1:]), "cut short"),
        ((letter[0], *block[1:]), "another level or scale"),
    ]:
        with pytest.raises(CiphertextError, match=text):
            steps.add_block(0, parts)
    steps.add_block(0, block)
    for letters in ((), (block[0],), (b"x" * 100,)):
        with pytest.raises(CiphertextError):
            steps.gradient(letters)
    for keys in (owner.evaluation()[:1], owner.evaluation()[::-1], (letter[0], letter[0])):
        with pytest.raises(CiphertextError):
            Steps(course, keys)
    strangers = tuple(steps.gradient(other.encrypt_weights(w)))
    with pytest.raises(CiphertextError, match="another key"):
        owner.decrypt(strangers, LINEAR.sensitivity)


@given(st.floats(0.5, 50), st.floats(0.01, 100), st.integers(1, 6), st.integers(0, 2**32))
def test_no_record_adds_more_than_the_sensitivity(reach, bound, features, seed):
    """Records and weights as an enemy would choose them: aligned, at the ends and between."""
    residual = Residual.logistic(reach, bound)
    rng = np.random.default_rng(seed)
    w = residual.project(rng.normal(size=(1, features)) * 10 * bound)
    assert np.linalg.norm(w) <= bound * (1 + 1e-12)
    direction = w[0] / max(np.linalg.norm(w), 1e-300)
    for share in np.linspace(-1, 1, 101):
        record = share * direction
        for target in (-0.5, 0.5):
            moved = (residual.of(w[0] @ record) - target) * record
            assert np.linalg.norm(moved) <= residual.sensitivity * (1 + 1e-9)


def test_the_cubic_is_close_to_the_sigmoid_where_it_should_be():
    m = np.linspace(-8, 8, 101)
    assert np.abs(Residual.logistic(8.0, 8.0).of(m) + 0.5 - 1 / (1 + np.exp(-m))).max() < 0.12


def test_records_are_prepared_one_by_one():
    """Each has norm 1, or 0 where nothing differs; its neighbours change nothing of it."""
    x = np.random.default_rng(0).uniform(0, 1, (5, 7))
    x[2] = 0.3
    found = prepare(x)
    norms = np.linalg.norm(found, axis=1)
    assert np.allclose(np.delete(norms, 2), 1)
    assert norms[2] <= 1
    assert np.array_equal(found[1:2], prepare(x[1:2]))
