"""Keys, and ChaCha20's keystream as the standard has it."""

import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import cipher
from privacy.cipher import KEY_BYTES, LANES, WORDS, Key, Stream


@settings(max_examples=20, deadline=None)
@given(key=st.binary(min_size=32, max_size=32), counter=st.integers(0, 2**62))
def test_keystream_is_chacha20(key: bytes, counter: int) -> None:
    """Against OpenSSL's, for random keys and counters of 64 bits."""
    words = np.empty(WORDS, np.uint32)
    cipher.keystream(np.frombuffer(key, np.uint32), counter, words)
    peer = Cipher(algorithms.ChaCha20(key, counter.to_bytes(8, "little") + bytes(8)), mode=None)
    if counter % 2**32 < 2**32 - LANES:  # OpenSSL's counter has 32 bits
        expected = np.frombuffer(peer.encryptor().update(bytes(4 * WORDS)), np.uint32)
        assert np.array_equal(words.reshape(16, LANES).T, expected.reshape(LANES, 16))


def test_every_bit_of_a_key_counts() -> None:
    """A change of any of the 256 gives other words and other keys."""
    base = Key.of("any")
    seen = {bytes(Stream(base).words(8)), base.derive("noise").value}
    for bit in range(8 * KEY_BYTES):
        flipped = int.from_bytes(base.value, "big") ^ (1 << bit)
        other = Key(flipped.to_bytes(KEY_BYTES, "big"))
        seen |= {bytes(Stream(other).words(8)), other.derive("noise").value}
    assert len(seen) == 2 * (8 * KEY_BYTES + 1)


def test_no_two_purposes_share_a_key() -> None:
    """Nor do parts of a path run together, or numbers pass for text."""
    paths = [
        (),
        ("a",),
        ("a", "b"),
        ("ab",),
        ("a", 1),
        ("a", "1"),
        ("a", b"1"),
        (1, "a"),
        ("", "a"),
    ]
    keys = {Key.of("root").derive(*path).value for path in paths}
    assert len(keys) == len(paths)


def test_seeds_that_agree_in_32_bits_are_two() -> None:
    """A seed counts at full width."""
    keys = [Key.of("run", seed) for seed in (1, 1 + 2**32, 1 + 2**63, 1 + 2**200)]
    for a, b in itertools.combinations(keys, 2):
        assert not np.array_equal(Stream(a).words(4), Stream(b).words(4))


def test_words_are_given_once() -> None:
    """Whatever the lengths of the requests."""
    stream = Stream(Key.of("words"))
    words = np.concatenate([stream.words(n) for n in (1, 511, 512, 513, 5)])
    assert len(np.unique(words)) == len(words)


def test_permutations_are_uniform() -> None:
    stream = Stream(Key.of("permutation"))
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), stream.permutation(4)] += 1
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000 * 3 / 4)


def test_secret_keys_are_the_operating_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """All 32 bytes; and, twin, a repeated one is seen."""
    assert Key.secret() != Key.secret()
    asked = []
    monkeypatch.setattr(cipher.secrets, "token_bytes", lambda n: asked.append(n) or bytes(n))
    assert Key.secret() == Key.secret()
    assert asked == [KEY_BYTES, KEY_BYTES]


def test_a_key_is_not_printed() -> None:
    key = Key.of("hidden")
    assert key.value.hex() not in repr(key)
    assert str(key.value) not in repr(key)
    with pytest.raises(ValueError, match="31 bytes"):
        Key(bytes(31))
