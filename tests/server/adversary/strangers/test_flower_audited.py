"""Flower's mods and strategies before the auditor; all of them: tests/acceptance/strangers.py."""

import flowers
import pytest
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from attacks.audit import audit_step
from attacks.audit.steps.asking import Asked
from attacks.audit.steps.checks import accounting
from attacks.audit.steps.moved import sensitivity
from server.adversary.strangers.flower import of_strategy


def test_a_strategy_that_is_right_passes():
    found = audit_step(*flowers.of_name("server side, fixed"))
    assert found.passed
    told = {check.name: check.state for check in found.checks}
    assert told.pop("empty batches") == "impossible"  # all clients take part
    assert set(told.values()) == {"passed", "not applicable"}


def test_clients_who_do_not_clip_are_red():
    assert sensitivity(Asked(*flowers.of_name("client side, no mod"))).state == "FAILED"


def test_noise_by_the_norm_of_the_round_after_is_too_little():
    """As Flower 1.41's adaptive clipping has it: by exp(-0.2 (1 - 0.5)) where all are clipped."""
    asked = Asked(*flowers.of_name("server side, adaptive"))
    found = sensitivity(asked)
    assert found.state == "FAILED"
    assert found.measured.startswith("1.1")


def test_local_dp_needs_a_sensitivity_of_twice_the_norm():
    """An update may turn into its opposite."""
    right, wrong = (Asked(*flowers.of_local(far)) for far in (2.0, 1.0))
    assert sensitivity(right).state == accounting(right.claims).state == "passed"
    assert sensitivity(right).measured.startswith("1.9")
    assert accounting(wrong.claims).state == "FAILED"


def test_a_strategy_that_waits_for_more_clients_is_told_of(monkeypatch):
    monkeypatch.setattr("flwr.serverapp.strategy.strategy_utils.sleep", lambda _: None)

    def impatient(sigma, num):
        return DifferentialPrivacyServerSideFixedClipping(FedAvg(), sigma, 1.0, num)

    make = of_strategy(impatient, flowers.update, flowers.FIRST, rounds=1)
    _, claims = flowers.of_name("server side, fixed")
    with pytest.raises(Exception, match="min_train_nodes=1"):
        make(claims.records[:1], claims.labels[:1], 0)
