"""Flower's mods and strategies before the auditor; all of them: tests/acceptance/strangers.py."""

import flowers
import pytest
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from attacks.audit import audit_step
from server.adversary.strangers.flower import of_strategy


def states(found):
    return {check.name: check.state for check in found.checks}


def test_a_strategy_that_is_right_passes():
    found = audit_step(*flowers.of_name("server side, fixed"))
    assert found.passed
    told = states(found)
    assert told.pop("empty batches") == "impossible"  # all clients take part
    assert set(told.values()) == {"passed", "not applicable"}


@pytest.mark.parametrize("name", ["client side, no mod", "server side, adaptive"])
def test_a_strategy_that_is_wrong_is_red(name):
    """Clients who do not clip; and noise by the norm of the round after, as Flower 1.41 has it: by
    exp(-0.2 (1 - 0.5)) too little where all are clipped."""
    found = {check.name: check for check in audit_step(*flowers.of_name(name)).checks}
    assert found["sensitivity"].state == "FAILED"
    if "adaptive" in name:
        assert found["sensitivity"].measured.startswith("1.1")


def test_local_dp_needs_a_sensitivity_of_twice_the_norm():
    """An update may turn into its opposite."""
    found = audit_step(*flowers.of_local(2.0))
    assert found.passed
    assert states(found)["sensitivity"] == "passed"
    found = audit_step(*flowers.of_local(1.0))
    assert states(found)["accounting"] == "FAILED"


def test_a_strategy_that_waits_for_more_clients_is_told_of(monkeypatch):
    monkeypatch.setattr("flwr.serverapp.strategy.strategy_utils.sleep", lambda _: None)

    def impatient(sigma, num):
        return DifferentialPrivacyServerSideFixedClipping(FedAvg(), sigma, 1.0, num)

    make = of_strategy(impatient, flowers.update, flowers.FIRST, rounds=1)
    _, claims = flowers.of_name("server side, fixed")
    with pytest.raises(Exception, match="min_train_nodes=1"):
        make(claims.records[:1], claims.labels[:1], 0)
