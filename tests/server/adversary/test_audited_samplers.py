"""Reading spins before the auditor: what is measured, what is charged, and a missing clip seen."""

import json

import pytest

from clients.arithmetic.pbits import private


def audited(privet, tmp_path, text):
    path = tmp_path / "spins.toml"
    path.write_text(text)
    return privet("audit", "sampler", str(path), "--json")


SMALL = "[sampler]\nspins = 4\nrecords = 5\nsweeps = 3\n"


def test_the_audit_measures_both_and_charges_one(privet, tmp_path):
    status, out, _ = audited(privet, tmp_path, SMALL)
    found = json.loads(out)
    exact, chain = found["readings"]
    assert status == 0
    assert found["passed"] is True
    assert found["charged"] == exact["epsilon"] == 1.0
    assert (exact["state"], chain["state"]) == ("promised", "measured, not promised")
    for reading in (exact, chain):
        assert 0.5 < reading["bound"]["epsilon"] < reading["here"] < 1


def test_a_cold_sampler_is_told_at_its_worst(privet, tmp_path):
    """tanh is 1 all over, and the rarest states are beyond float64: not beyond their logarithms."""
    cold = "[sampler]\nspins = 3\nrecords = 5\nsweeps = 2\nI0 = 10.0\nclip = 1e3\nstates = 100\n"
    status, out, err = audited(privet, tmp_path, cold)
    assert status == 0
    assert "Warning" not in err
    for reading in json.loads(out)["readings"]:
        assert 1e4 < reading["here"] <= reading["epsilon"]


def test_a_missing_clip_is_seen(privet, tmp_path, monkeypatch):
    whole = private.clipped
    loud = lambda h, J, clip: tuple(2 * part for part in whole(h, J, clip))  # noqa: E731
    monkeypatch.setattr(private, "clipped", loud)
    status, out, _ = audited(privet, tmp_path, SMALL)
    assert status == 1
    assert json.loads(out)["passed"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sampler]\nspins = 40\n", "[sampler] spins = 40: must be from 2 to 12"),
        ("[sampler]\nspin = 4\n", "[sampler] spin: unknown key; did you mean spins"),
        ("", "sampler: missing; add it"),
    ],
)
def test_a_wrong_file_is_one_line(privet, tmp_path, text, said):
    status, _, err = audited(privet, tmp_path, text)
    assert status == 2
    assert said in err
