"""Identities: tokens that are compared by digest, addresses that cannot be multiplied, quotas."""

import pytest
import served

from privacy.errors import KeysError, WireError
from server.inference.gate import accounts
from server.inference.gate.accounts import Accounts, neighbourhood, read_tokens


@pytest.mark.parametrize(
    ("address", "known_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("", "unknown"),
    ],
)
def test_one_subscriber_is_one_identity(address, known_as):
    assert neighbourhood(address) == known_as


def test_tokens_name_who_asks(tmp_path):
    path, tokens = served.tokens_file(tmp_path, "ward-3", "operator")
    known = Accounts(read_tokens(path), 0)
    assert known.identify(f"Bearer {tokens['ward-3']}", "192.0.2.7") == "token ward-3"
    assert known.is_operator(known.identify(f"bearer {tokens['operator']}", ""))
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {tokens['ward-3']}",
        "Bearer x",
        "Bearer ward-3",
    ):
        with pytest.raises(WireError) as error:
            known.identify(wrong, "127.0.0.1")
        assert error.value.status == 401


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("a " + "0" * 32, 0o644, "chmod 600"),
        ("a short", 0o600, ":1: NAME TOKEN belongs here"),
        ("a\n", 0o600, "openssl rand"),
        ("a " + "0" * 32 + "\na " + "1" * 32, 0o600, "a is there twice"),
        ("# nobody\n", 0o600, "no token in it"),
        ("", 0o600, "no token in it"),
    ],
)
def test_a_file_of_tokens_that_would_let_anyone_in_is_refused(tmp_path, content, mode, reason):
    path = tmp_path / "tokens"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(KeysError, match=reason):
        read_tokens(path)
    with pytest.raises(KeysError, match="cannot be read"):
        read_tokens(tmp_path / "none")


def test_answers_a_day_hold_in_any_24_hours(monkeypatch):
    """Also over midnight, and across the hours' edges."""
    now = [1_000_000 * 3600.0 + 3599]
    monkeypatch.setattr(accounts.time, "time", lambda: now[0])
    known, given, refused = Accounts(None, 10), [], []
    for _ in range(200):
        try:
            known.charge("someone", 1)
            given.append(now[0])
        except WireError as error:
            refused.append((error.status, error.retry_after_s >= 1))
        now[0] += 1800.0
    for first in given:
        assert sum(first <= at < first + 24 * 3600 for at in given) <= 10
    assert set(refused) == {(429, True)}
    assert len(given) >= 30  # and they come back
    known.charge("another", 10)
    with pytest.raises(WireError):
        known.charge("another", 1)
    known.refund("another", 1)
    known.charge("another", 1)
    with pytest.raises(WireError):
        known.charge("batch", 11)


def test_whoever_crashes_workers_must_wait(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(accounts.time, "monotonic", lambda: now[0])
    known = Accounts(None, 0)
    for _ in range(3):
        known.require_calm("someone")
        known.note_crash("someone")
        now[0] += 5
    with pytest.raises(WireError) as error:
        known.require_calm("someone")
    assert error.value.status == 429
    known.require_calm("another")
    now[0] = 61.0
    known.require_calm("someone")
