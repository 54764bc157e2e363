"""SEAL's bytes are read as SEAL reads them, seeds too; what is malformed is refused."""

import struct

import numpy as np
import pytest
import tenseal.sealapi as seal
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encrypted.ring import foreign
from privacy.encrypted.ring.foreign import COUNT, HEAD, Level
from privacy.errors import CiphertextError
from privacy.seal import from_bytes, make_context, to_bytes
from privacy.sealed import ENVELOPE, inflate, plain_envelope

MOST = 1 << 24
SCALE = 2.0**20
DEGREE = 4096


def level_of(data):
    parms = data.parms()
    primes = np.array([m.value() for m in parms.coeff_modulus()], np.uint64)
    return Level(struct.pack("<4Q", *data.parms_id()), primes, parms.poly_modulus_degree())


class Party:
    """A client's side: what it sends."""

    def __init__(self, degree=DEGREE, bits=(36, 37), special=33):
        self.context = make_context(degree, bits, special)
        self.level = level_of(self.context.first_context_data())
        self.key_level = level_of(self.context.key_context_data())
        self.generator = seal.KeyGenerator(self.context)
        secret = self.generator.secret_key()
        encoder, plain = seal.CKKSEncoder(self.context), seal.Plaintext()
        encoder.encode(np.linspace(-1, 1, degree // 2).tolist(), SCALE, plain)
        self.plain = plain
        self.sent = to_bytes(seal.Encryptor(self.context, secret).encrypt_symmetric(plain))


@pytest.fixture(scope="module")
def party():
    return Party()


def words_of(context, sent):
    """As SEAL itself unpacks them."""
    whole = inflate(to_bytes(from_bytes(seal.Ciphertext(), context, sent)), MOST)
    return np.frombuffer(whole, np.uint64, offset=ENVELOPE.size * 2 + HEAD.size + COUNT.size)


def test_a_seeded_ciphertext_is_read_as_seal_reads_it():
    """Of 60 bits, too, where one word in 16 is drawn again."""
    for one in (Party(), Party(8192, (60, 60), 60)):
        found = foreign.read_ciphertext(one.sent, one.level, SCALE, MOST)
        assert np.array_equal(found.ravel(), words_of(one.context, one.sent))


def test_a_whole_ciphertext_is_read_and_written(party):
    sent = to_bytes(from_bytes(seal.Ciphertext(), party.context, party.sent))
    found = foreign.read_ciphertext(sent, party.level, SCALE, MOST)
    written = foreign.write_ciphertext(found, party.level, SCALE, sent[4])
    again = from_bytes(seal.Ciphertext(), party.context, written)
    assert again.scale == SCALE
    assert again.parms_id() == party.context.first_parms_id()
    assert np.array_equal(words_of(party.context, written), found.ravel())


def test_keys_are_read_as_seal_reads_them(party):
    elements = [3, 9, 2 * DEGREE - 1]
    galois = to_bytes(party.generator.create_galois_keys(elements))
    places = [element // 2 for element in elements]
    found = foreign.read_keys(galois, party.key_level, places, MOST)
    # SEAL writes keys that it has unpacked whole
    whole = to_bytes(from_bytes(seal.GaloisKeys(), party.context, galois))
    again = foreign.read_keys(whole, party.key_level, places, MOST)
    assert len(whole) > 1.5 * len(galois)
    for place in places:
        assert found[place].shape == (2, 2, 3, DEGREE)
        assert np.array_equal(found[place], again[place])
    with pytest.raises(CiphertextError, match="lack a rotation"):
        foreign.read_keys(galois, party.key_level, [13], MOST)
    few = foreign.read_keys(galois, party.key_level, places[:1], MOST)
    assert list(few) == places[:1]


def altered(content, offset, form, value):
    changed = bytearray(content)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


START = ENVELOPE.size  # of a ciphertext's head; its fields follow the 32 bytes of its level
MALFORMED = {
    "level": (START, "<B", 0, "first level and scale"),
    "form": (START + 32, "<B", 0, "first level and scale"),
    "polynomials": (START + 33, "<Q", 3, "first level and scale"),
    "degree": (START + 41, "<Q", 1 << 60, "first level and scale"),
    "primes": (START + 49, "<Q", 1, "first level and scale"),
    "scale": (START + 57, "<d", 2.0**21, "first level and scale"),
    "factor": (START + 65, "<Q", 2, "first level and scale"),
    "array": (START + HEAD.size, "<H", 0, "not an object of SEAL"),
    "array length": (START + HEAD.size + 8, "<Q", 1 << 63, "a part of"),
    "count": (START + HEAD.size + ENVELOPE.size, "<Q", 1 << 61, "another size"),
    "word": (START + HEAD.size + ENVELOPE.size + 8, "<Q", 1 << 40, "exceed their primes"),
    "seed": (-foreign.SEEDED_BYTES, "<H", 0, "not an object of SEAL"),
    "generator": (-foreign.SEED_BYTES - 1, "<B", 2, "another kind"),
}


@pytest.mark.parametrize("field", MALFORMED)
def test_a_malformed_ciphertext_is_refused(party, field):
    offset, form, value, match = MALFORMED[field]
    whole = inflate(party.sent, MOST)
    sent = altered(whole, offset % len(whole), form, value)
    with pytest.raises(CiphertextError, match=match):
        foreign.read_ciphertext(sent, party.level, SCALE, MOST)


def test_a_transparent_ciphertext_is_refused(party):
    whole = bytearray(
        inflate(to_bytes(from_bytes(seal.Ciphertext(), party.context, party.sent)), MOST)
    )
    whole[-8 * party.level.num_words :] = bytes(8 * party.level.num_words)
    with pytest.raises(CiphertextError, match="hides nothing"):
        foreign.read_ciphertext(bytes(whole), party.level, SCALE, MOST)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_are_read_or_refused_and_nothing_else(party, data):
    """Cut anywhere, or with any bytes changed where there is structure."""
    relinearization = inflate(to_bytes(party.generator.create_relin_keys()), MOST)
    for content, read in (
        (inflate(party.sent, MOST), lambda b: foreign.read_ciphertext(b, party.level, SCALE, MOST)),
        (relinearization, lambda b: foreign.read_keys(b, party.key_level, [0], MOST)),
    ):
        body = bytearray(content[ENVELOPE.size :])
        if data.draw(st.booleans()):
            del body[data.draw(st.integers(0, len(body) - 1)) :]
        else:
            near = data.draw(st.sampled_from((0, len(body) - 100)))
            offset = near + data.draw(st.integers(0, 90))
            body[offset : offset + 8] = data.draw(st.binary(min_size=8, max_size=8))
        try:
            words = read(plain_envelope(bytes(body), content[4]))
        except CiphertextError:
            continue
        assert len(words)


def test_keys_that_claim_too_much_are_refused(party):
    content = inflate(to_bytes(party.generator.create_relin_keys()), MOST)
    place = ENVELOPE.size + 32

    def read(changed):
        return foreign.read_keys(changed, party.key_level, [0], MOST)

    read(content)
    for offset, value, match in (
        (place, 1 << 60, "elements of 4096"),
        (place, 0, "more behind them"),
        (place, 2, "cut short"),
        (place + 8, 1 << 60, "parts, where 2 belong"),
        (place + 8, 0, "more behind them"),
        (0 + ENVELOPE.size, 0, "under these parameters"),
    ):
        with pytest.raises(CiphertextError, match=match):
            read(altered(content, offset, "<Q", value))
