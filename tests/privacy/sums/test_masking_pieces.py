"""The pieces of masking: shares, keys, masks, boxes, graphs."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from oracles_secure import terms_for
from scipy.stats import kstest
from test_masking import D

from privacy.cipher import LANES, WORDS
from privacy.errors import SecureSumFailed
from privacy.sums import shares
from privacy.sums.boxes import exchange, expand_key, open_box, public_of, seal_box
from privacy.sums.masks import add_masks, expand
from privacy.sums.terms import degree_for

# ---- the pieces


@given(st.binary(min_size=1, max_size=40), st.integers(1, 8), st.integers(0, 8), st.randoms())
def test_any_threshold_of_parts_gives_the_secret(secret, threshold, more, random):
    points = random.sample(range(1, 5000), threshold + more)
    parts = dict(zip(points, shares.split(secret, threshold, points), strict=True))
    chosen = random.sample(points, threshold)
    assert shares.combine({p: parts[p] for p in chosen}, len(secret)) == secret


def test_fewer_parts_than_the_threshold_say_nothing(monkeypatch):
    """Two of three parts of either secret: each is uniform, and so is their difference."""
    rng = np.random.default_rng(3)
    monkeypatch.setattr(shares.secrets, "token_bytes", rng.bytes)
    for secret in (bytes(30), b"\xff" * 30):
        rows = [shares.split(secret, 3, [1, 2, 3])[:2] for _ in range(1500)]
        first, second = (np.frombuffer(b"".join(part), "<u4") for part in zip(*rows, strict=True))
        for numbers in (first, second, (second.astype(np.int64) - first) % shares.PRIME):
            assert kstest(numbers / shares.PRIME, "uniform").pvalue > 0.001


def test_shares_refuse_what_would_tell_the_secret():
    for points in ([0, 1, 2], [1, 1, 2], [1, 2], [shares.PRIME, 1, 2]):
        with pytest.raises(ValueError, match="different points"):
            shares.split(b"secret", 3, points)
    with pytest.raises(ValueError, match="not a part"):
        shares.combine({1: b"\xff" * 8}, 6)


def test_keys_are_those_of_hkdf():
    """RFC 5869 as `cryptography` has it, over X25519."""
    rng = np.random.default_rng(0)
    mine, other = (X25519PrivateKey.from_private_bytes(rng.bytes(32)) for _ in range(2))
    agreed = exchange(mine, other.public_key().public_bytes_raw())
    expected = HKDF(SHA256(), 32, salt=None, info=b"a purpose")
    assert expand_key(agreed, b"a purpose") == expected.derive(mine.exchange(other.public_key()))
    with pytest.raises(SecureSumFailed, match="not a public key"):
        exchange(mine, bytes(32))


def test_masks_are_chacha20():
    """Its keystream, as `cryptography` has it, in the order of privacy.cipher: lane by lane."""
    key = bytes(range(32))
    for dtype, num in ((np.uint32, 1500), (np.uint64, 700)):
        found = expand(key, np.zeros(num, dtype))
        cipher = Cipher(ChaCha20(key, bytes(16)), None).encryptor()
        blocks = np.frombuffer(cipher.update(bytes(2 * 4 * WORDS)), "<u4").reshape(2, LANES, 16)
        expected = np.ascontiguousarray(blocks.transpose(0, 2, 1)).reshape(-1).view(dtype)[:num]
        assert found.dtype == dtype
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_masks_of_pairs_are_added_one_way_and_taken_off_the_other(dtype):
    terms, rng = terms_for(range(6), D), np.random.default_rng(2)
    for num in (1, 511, 1024, 2049):
        words = rng.integers(0, np.iinfo(dtype).max, num, dtype)
        agreed = {other: rng.bytes(32) for other in (0, 1, 4)}
        expected = words.copy()
        for other, secret in agreed.items():
            pair = min(2, other).to_bytes(8, "big") + max(2, other).to_bytes(8, "big")
            mask = expand(expand_key(secret, b"privet mask" + terms.digest + pair), words)
            expected = expected + mask if other > 2 else expected - mask
        found = words.copy()
        add_masks(found, 2, agreed, terms)
        assert np.array_equal(found, expected)
        add_masks(found, 4, {2: agreed[4]}, terms)  # the other end
        add_masks(words, 2, {o: agreed[o] for o in (0, 1)}, terms)
        assert np.array_equal(found, words)


def test_boxes_open_for_their_holder_only():
    terms = terms_for(range(4), D)
    agreed = bytes(range(32))
    box = seal_box(terms, agreed, 1, 2, b"parts")
    assert open_box(terms, agreed, 1, 2, box) == b"parts"
    with pytest.raises(SecureSumFailed):
        open_box(terms, agreed, 2, 1, box)
    assert len(public_of(bytes(range(32)))) == 32


def test_degrees_grow_slowly():
    degrees = [degree_for(n, 0.5) for n in (10, 100, 1000, 10_000)]
    assert degrees[0] < 10
    assert degrees[2] < 3 * degrees[1]  # ten times the clients
    assert degrees[3] < 1.5 * degrees[2]
