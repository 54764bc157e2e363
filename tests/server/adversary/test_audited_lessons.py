"""What an owner lets out of a step is as private as the ledger says; a sabotaged one fails."""

import learnt
import pytest

from clients.learning.descent import Descent, Noise
from privacy.encrypted.learning.residual import Residual
from server.adversary import lessons
from server.adversary.lessons import audit_lesson
from server.experiment.lessons import load_lesson

BUDGET = (
    "budget = { unit = 'record', noise_multiplier = 1.0 }\n"
    "[learning]\nsteps = 4\nreach = 2.0\nbound = 6.0\n"
)


@pytest.fixture
def path(tmp_path):
    path = learnt.write_lesson(tmp_path)
    path.write_text(path.read_text().replace("learning = { steps = 4 }\n", BUDGET))
    return path


def test_the_step_passes_the_audit(path, privet):
    status, out, err = privet("audit", "lesson", str(path))
    assert status == 0, err
    assert "sensitivity" in out


def part_of(share):
    whole = Noise.integers
    return lambda self, deviation, size: whole(self, share * deviation, size)


@pytest.mark.parametrize(
    ("owner", "name", "sabotage"),
    [
        (Noise, "integers", part_of(0.0)),
        (Noise, "integers", part_of(0.5)),
        (Residual, "project", lambda self, weights: weights),
        (Residual, "sensitivity", 0.5),
        (Descent, "released", lambda self, total, key: total),
        (lessons, "prepare", lambda x: 3.0 * x),
    ],
)
def test_a_sabotaged_step_fails_it(path, monkeypatch, owner, name, sabotage):
    monkeypatch.setattr(owner, name, sabotage)
    assert not audit_lesson(load_lesson(str(path))).passed


def test_without_a_promise_there_is_nothing_to_audit(tmp_path, privet):
    status, _, err = privet("audit", "lesson", str(learnt.write_lesson(tmp_path)))
    assert status == 2
    assert "no promise to audit" in err
