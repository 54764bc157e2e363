"""A flood of refusals costs its sender time, and nobody else."""

import time

from server.inference.gate import tarpit
from server.inference.gate.tarpit import AT_ONCE, Tarpit


def test_the_first_are_at_once_and_a_flood_ever_slower():
    pit = Tarpit(2.0)
    delays_s = [pit.delay_s("loud") for _ in range(100)]
    assert delays_s[:AT_ONCE] == [0.0] * AT_ONCE
    assert sorted(delays_s) == delays_s
    assert delays_s[-1] == 2.0
    assert pit.delay_s("quiet") == 0.0
    assert {Tarpit(0.0).delay_s("loud") for _ in range(100)} == {0.0}


def test_refusals_are_forgotten(monkeypatch):
    pit, now = Tarpit(2.0), time.monotonic()
    monkeypatch.setattr(tarpit.time, "monotonic", lambda: now)
    for _ in range(AT_ONCE + 10):
        pit.delay_s("loud")
    monkeypatch.setattr(tarpit.time, "monotonic", lambda: now + 60)
    assert pit.delay_s("loud") == 0.0


def test_identities_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr(tarpit, "REMEMBERED", 10)
    pit = Tarpit(2.0)
    for number in range(1000):
        pit.delay_s(f"stranger {number}")
    assert len(pit._had) <= 10
