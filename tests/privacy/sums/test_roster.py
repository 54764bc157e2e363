"""Members known by their keys: whom a roster vouches for, and what makes none."""

import shutil

import pytest
from oracles_secure import terms_for

from privacy.authority import make_authority
from privacy.errors import KeysError, SecureSumFailed
from privacy.sums.boxes import SIGNATURE_BYTES
from privacy.sums.roster import read_roster

TERMS = terms_for(range(4), 4)
KEYS = bytes(range(64))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "keys"
    make_authority(folder, ["localhost"], 4)
    return folder


@pytest.fixture
def keys(made, tmp_path):
    """A copy that may be spoilt."""
    return shutil.copytree(made, tmp_path / "keys")


def roster(keys, client=0, **options):
    return read_roster(keys / "members", keys / f"node-{client}" / "node.key", client, **options)


def test_each_member_vouches_for_its_own_keys_in_one_sum(made):
    mine, other = roster(made), roster(made, 1)
    signature = other.sign(TERMS, 1, KEYS)
    assert len(signature) == SIGNATURE_BYTES
    assert mine.vouches_for(TERMS, 1, KEYS, signature)
    later = terms_for(range(4), 4, round_number=2)
    for terms, member, publics, seal in [
        (later, 1, KEYS, signature),  # of another sum
        (TERMS, 2, KEYS, signature),  # of another member
        (TERMS, 7, KEYS, signature),  # of nobody
        (TERMS, 1, KEYS[::-1], signature),  # of other keys: the server's own
        (TERMS, 1, KEYS, b""),
        (TERMS, 1, KEYS, bytes(SIGNATURE_BYTES)),
        (TERMS, 1, KEYS, b"\xff" * SIGNATURE_BYTES),
        (TERMS, 1, KEYS, signature + b"\0"),
    ]:
        assert not mine.vouches_for(terms, member, publics, seal)


def test_strangers_and_small_sums_are_refused(made):
    roster(made).require_known(TERMS)
    with pytest.raises(SecureSumFailed, match=r"clients \[4, 5\] are not on this device's roster"):
        roster(made).require_known(terms_for(range(6), 4))
    with pytest.raises(SecureSumFailed, match="a sum of 3 members; this device's owner wants 4"):
        roster(made, fewest=4).require_known(TERMS)


def test_what_makes_no_roster_is_said_in_a_line(keys):
    members, key = keys / "members", keys / "node-0" / "node.key"
    for fewest in (2, 5):
        with pytest.raises(KeysError, match=f"4 members, and a sum of {fewest} is asked for"):
            roster(keys, fewest=fewest)
    with pytest.raises(KeysError, match=r"node-1\.pub: is not the public half"):
        read_roster(members, key, 1)
    with pytest.raises(KeysError, match="nowhere: cannot be read"):
        read_roster(keys / "nowhere", key, 0)
    with pytest.raises(KeysError, match=r"authority\.pem: not a P-384 private key"):
        read_roster(members, keys / "node-0" / "authority.pem", 0)
    (members / "node-2.pub").write_bytes(b"ssh-rsa AAAA")
    with pytest.raises(KeysError, match=r"node-2\.pub: not a P-384 public key"):
        roster(keys)
    shutil.copy(members / "node-1.pub", members / "node-2.pub")
    with pytest.raises(KeysError, match="one key stands for two members"):
        roster(keys)
    (members / "node-2.pub").unlink()
    (members / "node-2.pub").mkdir()
    with pytest.raises(KeysError, match=r"node-2\.pub: not there"):
        roster(keys)
