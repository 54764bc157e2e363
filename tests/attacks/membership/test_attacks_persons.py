"""Persons by the mean of their records' scores; signals of losses other than of classes."""

import numpy as np
import pytest
import torch

from attacks.membership.persons import by_person, measure_persons
from attacks.membership.signals import signal
from attacks.tape import Sample, cross_entropy


def test_a_person_is_found_where_one_record_is_not():
    rng = np.random.default_rng(0)
    person = np.arange(3000) % 60
    member = person < 30
    scores = rng.normal(size=3000) + 0.4 * member
    found = measure_persons(scores, person, member, "others")
    assert (found["members"], found["non_members"]) == (30, 30)
    assert found["auc"]["low"] > 0.9
    means, names = by_person(scores, person)
    assert means[7] == pytest.approx(scores[person == 7].mean())
    assert names.tolist() == list(range(60))
    chance = measure_persons(rng.normal(size=3000), person, member, "others")["auc"]
    assert chance["low"] < 0.5 < chance["high"]


def test_too_few_persons_are_left_out():
    person = np.arange(100) % 8
    found = measure_persons(np.zeros(100), person, person < 4, "others")
    assert found["left_out"].startswith("4 persons were trained on, and 4 were not")


def test_the_signal_of_a_loss_is_the_scaled_logit():
    torch.manual_seed(0)
    outputs, y = torch.randn(50, 4), torch.randint(0, 4, (50,))
    classes = Sample(None, y, None)
    other = Sample(None, y, None, loss=cross_entropy, task="number")
    assert torch.allclose(signal(outputs, y, classes), signal(outputs, y, other), atol=1e-4)
    nothing = Sample(None, y, None, loss=lambda o, t: torch.tensor([0.0, 1e4]), task="number")
    least, most = signal(outputs, y, nothing)
    assert torch.isfinite(torch.stack([least, most])).all()
    assert least > most
