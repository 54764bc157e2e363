"""An encrypted step's gradient is the plain one, and what one record adds to it is bounded."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encrypted.learning.course import SLOTS, Course
from privacy.encrypted.learning.owner import Owner
from privacy.encrypted.learning.residual import Residual, prepare
from privacy.encrypted.learning.steps import Steps
from privacy.errors import CiphertextError

LOGISTIC, LINEAR = Residual.logistic(12.0, 24.0), Residual.linear(2.0)
SOFTMAX = Residual.softmax(12.0, 16.0, 3)


def course_of(residual, num, features, outputs, packed):
    return Course(
        blocks=-(-num // SLOTS),
        features=features,
        outputs=outputs,
        cubic=residual.cubic > 0,
        offset=residual.offset,
        packed=packed,
        joint=residual.joint,
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
        (SOFTMAX, 40, 3, 3, True),
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
        s = sum(m**2) if residual.joint else m**2
        q = residual.slope * m - residual.cubic * m * s
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


@settings(deadline=None, max_examples=50)
@given(
    st.floats(0.5, 50), st.floats(0.01, 100), st.integers(3, 12), st.integers(1, 6),
    st.integers(0, 2**32),
)  # fmt: skip
def test_no_record_adds_more_than_a_softmax_s_sensitivity(reach, bound, outputs, features, seed):
    """Drawn, and as an enemy would choose: one class ahead or behind of all, at the peak. There
    the bound is reached."""
    residual = Residual.softmax(reach, bound, outputs)
    rng = np.random.default_rng(seed)
    record = prepare(rng.normal(size=(1, features + 1)))[0]
    t = residual.targets(np.arange(outputs))
    longest = 0.0
    for w in (
        rng.normal(size=(outputs, features + 1)) * bound,
        *(sign * 10 * bound * np.outer(t[0], record) for sign in (-1, 1)),
    ):
        w = residual.project(w)
        assert np.linalg.norm(w) <= bound * (1 + 1e-9)
        assert np.abs(w.sum(0)).max() < 1e-9 * bound
        for share in (0.3, 1.0, residual.peak / bound):
            r = residual.of(share * w @ record) - t
            norms = np.linalg.norm(r, axis=1)
            assert norms.max() <= residual.sensitivity * (1 + 1e-9)
            assert np.abs(r).max() <= residual.most * (1 + 1e-9)
            longest = max(longest, norms[0])
    assert longest == pytest.approx(residual.sensitivity)


def test_the_cubic_is_close_to_the_sigmoid_where_it_should_be():
    m = np.linspace(-8, 8, 101)
    assert np.abs(Residual.logistic(8.0, 8.0).of(m) + 0.5 - 1 / (1 + np.exp(-m))).max() < 0.12


def test_a_softmax_s_cubic_is_softmax_s_nearest_and_of_two_classes_the_sigmoid_s():
    """Along one class's lead no other cubic is closer; softmax itself is computed by its text."""
    residual = Residual.softmax(6.0, 6.0, 5)
    lead = np.array([4, -1, -1, -1, -1]) / np.sqrt(20)
    margins = np.linspace(0, 6, 500)[:, None] * lead
    p = np.exp(margins) / np.exp(margins).sum(1, keepdims=True)
    error = np.linalg.norm(residual.of(margins) + 0.2 - p)
    for slope, cubic in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.02), (1.0, 0.98)):
        other = replace(residual, slope=slope * residual.slope, cubic=cubic * residual.cubic)
        assert np.linalg.norm(other.of(margins) + 0.2 - p) > error
    m = np.linspace(-8, 8, 101)
    two = Residual.softmax(8 / np.sqrt(2), 8.0, 2).of(np.stack([m, -m], axis=1) / 2)
    assert np.allclose(two[:, 0], Residual.logistic(8.0, 8.0).of(m), atol=1e-3)


def test_records_are_prepared_one_by_one():
    """Each has norm 1, or 0 where nothing differs; its neighbours change nothing of it."""
    x = np.random.default_rng(0).uniform(0, 1, (5, 7))
    x[2] = 0.3
    found = prepare(x)
    norms = np.linalg.norm(found, axis=1)
    assert np.allclose(np.delete(norms, 2), 1)
    assert norms[2] <= 1
    assert np.array_equal(found[1:2], prepare(x[1:2]))
