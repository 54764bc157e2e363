"""What an owner lets out of a step is as private as the ledger says; a sabotaged one fails."""

import learnt
import pytest

from clients.learning.descent import Descent, Noise
from privacy.encrypted.learning.residual import Residual
from server.adversary.mechanisms import lessons
from server.adversary.mechanisms.lessons import audit_lesson
from server.experiment.lessons import load_lesson


def write(folder, loss):
    """A lesson of two classes, or of four, where a softmax's cubic bends."""
    path = learnt.write_lesson(folder, classes=4 if loss == "softmax" else 2)
    reach = 4.0 if loss == "softmax" else 2.0
    told = (
        "budget = { unit = 'record', noise_multiplier = 1.0 }\n"
        f"[learning]\nloss = '{loss}'\nsteps = 4\nreach = {reach}\nbound = 6.0\n"
    )
    path.write_text(path.read_text().replace("learning = { steps = 4 }\n", told))
    return path


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_the_step_passes_the_audit(tmp_path, privet, loss):
    status, out, err = privet("audit", "lesson", str(write(tmp_path, loss)))
    assert status == 0, err
    assert "sensitivity" in out


def part_of(share):
    whole = Noise.integers
    return lambda self, deviation, size: whole(self, share * deviation, size)


@pytest.mark.parametrize(
    ("loss", "owner", "name", "sabotage"),
    [
        ("logistic", Noise, "integers", part_of(0.0)),
        ("logistic", Noise, "integers", part_of(0.5)),
        ("logistic", Residual, "project", lambda self, weights: weights),
        ("softmax", Residual, "project", lambda self, weights: weights - weights.mean(0)),
        ("logistic", Residual, "sensitivity", 0.5),
        ("softmax", Residual, "sensitivity", 0.8),
        ("logistic", Descent, "released", lambda self, total, key: total),
        ("logistic", lessons, "prepare", lambda x: 3.0 * x),
    ],
)
def test_a_sabotaged_step_fails_it(tmp_path, monkeypatch, loss, owner, name, sabotage):
    monkeypatch.setattr(owner, name, sabotage)
    assert not audit_lesson(load_lesson(str(write(tmp_path, loss)))).passed


def test_without_a_promise_there_is_nothing_to_audit(tmp_path, privet):
    status, _, err = privet("audit", "lesson", str(learnt.write_lesson(tmp_path)))
    assert status == 2
    assert "no promise to audit" in err
