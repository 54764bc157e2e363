"""A plan on words gives SEAL's results: to the bit without key switches, within noise with."""

import dataclasses
from functools import cache

import numpy as np
import oracles_encrypted as oracle
import pytest
import tenseal.sealapi as seal

from privacy.encrypted import ckks
from privacy.encrypted.keys import CkksKeys
from privacy.encrypted.net import Dense, Net
from privacy.encrypted.plan import plan
from privacy.encrypted.programs import digest, offer_of
from privacy.encrypted.recipes import recipes
from privacy.encrypted.ring import engine as engines
from privacy.encrypted.ring import foreign, program, switching
from privacy.encrypted.ring.engine import engine
from privacy.encrypted.ring.program import RingProgram, fits
from privacy.encrypted.ring.transforms import turned, turned_back
from privacy.errors import CiphertextError, ModelError
from privacy.seal import from_bytes, to_bytes

RNG = np.random.default_rng(0)


@cache
def served():
    """A small net, both programs of it and a client."""
    images = RNG.random((30, 8, 8))
    net = oracle.perceptron(RNG, (8, 8), [16, 10])
    planned = plan(net, images)
    keys = CkksKeys(offer_of(planned, digest(b""), "drawn"))
    return net, images, RingProgram(planned), ckks.Program(planned), keys, keys.evaluation()


def level_words(ring, native):
    """The words of SEAL's own ciphertext."""
    content = to_bytes(native)
    level = ring._levels[native.coeff_modulus_size()]
    return foreign.read_ciphertext(content, level, native.scale, 1 << 24)


def native_of(ring, content):
    return from_bytes(seal.Ciphertext(), ring.context, content)


def test_what_switches_no_key_is_seals_own_result_to_the_bit():
    _, images, ring, ours, keys, _ = served()
    (sent,) = keys.encrypt(images[0])
    evaluator, native = ours._evaluator, native_of(ring, sent)
    x = ring._enter(level_words(ring, native))
    diagonal, plaintext = ring._weights[0][0][0][1], ours._diagonals[0][0][0][1]

    evaluator.multiply_plain_inplace(native, plaintext)
    product = np.empty_like(x)
    switching.accumulate(x, diagonal, ring._tables, product, True)
    assert np.array_equal(ring._leave(product), level_words(ring, native))

    bias = next(iter(ring._biases.values()))
    evaluator.add_plain_inplace(native, ours._biases[0])
    switching.add(product[:1], bias[None], ring._tables)
    assert np.array_equal(ring._leave(product), level_words(ring, native))

    evaluator.rescale_to_next_inplace(native)
    dropped = ring._rescale(product)
    assert np.array_equal(ring._leave(dropped), level_words(ring, native))


def test_a_square_is_seals_own_to_the_bit():
    _, images, ring, ours, keys, _ = served()
    native = native_of(ring, keys.encrypt(images[0])[0])
    x = ring._enter(level_words(ring, native))
    squared = np.empty((3, *x.shape[1:]))
    switching.square(x, ring._tables, squared)
    ours._evaluator.square_inplace(native)
    # three polynomials: SEAL writes them, and only the head differs from what clients send
    content = foreign.inflate(to_bytes(native), 1 << 24)
    words = np.frombuffer(content, np.uint64, offset=len(content) - 8 * squared.size)
    assert np.array_equal(ring._leave(squared).ravel(), words)


def test_values_are_turned_as_seal_turns_them():
    """An automorphism permutes values: of a polynomial that SEAL encoded, of its slots turned."""
    _, _, ring, ours, _, _ = served()
    slots = RNG.normal(size=ring.plan.num_slots) + 1j * RNG.normal(size=ring.plan.num_slots)
    data = ring.context.first_context_data()
    level = ring._levels[2]

    def encoded(values):
        found = seal.Plaintext()
        ours._encoder.encode(values.tolist(), data.parms_id(), 2.0**40, found)
        return foreign.read_plaintext(to_bytes(found), level).astype(float)

    for steps in (1, 5):
        order = ring._order(ring._element(steps))
        found = turned_back(turned(encoded(slots))[..., order])
        apart = (found - encoded(np.roll(slots, -steps))) % level.primes[:, None].astype(float)
        # rounded from other floats: in a few coefficients, by one
        assert (
            np.minimum(apart, level.primes[:, None] - apart) == 0
        ).mean() < 0.5 or not apart.any()
        values = np.abs(decoded(ours, found, level) - np.roll(slots, -steps))
        assert values.max() < 1e-6
    order = ring._order(2 * ring.plan.recipe.degree - 1)
    found = turned_back(turned(encoded(slots))[..., order])
    assert np.abs(decoded(ours, found, level) - slots.conj()).max() < 1e-6


def decoded(ours, values, level):
    """Slots of a plaintext with these values, through SEAL."""
    plain = seal.Plaintext()
    ours._encoder.encode(1.0, ours.context.first_parms_id(), 2.0**40, plain)
    content = bytearray(foreign.inflate(to_bytes(plain), 1 << 24))
    content[-8 * level.num_words :] = values.astype(np.uint64).tobytes()
    return np.array(
        ours._encoder.decode_complex(from_bytes(seal.Plaintext(), ours.context, bytes(content)))
    )


def test_key_switches_are_seals_within_noise():
    """A rotation by each program, decrypted; ours has less noise than SEAL's, whose digits are not
    balanced.
    """
    _, _, ring, ours, keys, sent_keys = served()
    mine, theirs = ring.load_keys(sent_keys), ours.load_keys(sent_keys)
    # at a scale that bears a rotation's noise
    fine = keys.offer.model_copy(update={"input_bits": 34.0})
    client = CkksKeys(fine, keys.secret_bytes())
    slots = RNG.normal(size=ring.plan.num_slots)
    errors = []
    for rotation in ring.plan.rotations[:3]:
        native = native_of(ring, client.encrypt_slots(slots + 0j))
        x = ring._enter(level_words(ring, native))
        ring._add_turned(x, ring._element(rotation), mine)
        written = foreign.write_ciphertext(
            ring._leave(x), ring._levels[2], native.scale, ring._minor
        )
        rotated = seal.Ciphertext()
        ours._evaluator.rotate_vector(native, rotation, theirs.galois, rotated)
        ours._evaluator.add_inplace(native, rotated)
        expected = slots + np.roll(slots, -rotation)
        errors.append(
            [
                np.sqrt(np.square(client.decrypt_slots(answer) - expected).mean())
                for answer in (written, to_bytes(native))
            ]
        )
    ours_rms, seals_rms = np.mean(errors, 0)
    assert 0 < ours_rms < 1.1 * seals_rms < 1e-3


@pytest.mark.parametrize("kind", ["perceptron", "linear", "two layers of squares", "sparse"])
def test_an_answer_is_the_nets_as_near_as_seals(kind):
    rng, images = np.random.default_rng(3), RNG.random((30, 8, 8))
    net = {
        "perceptron": lambda: oracle.perceptron(rng, (8, 8), [16, 10]),
        "linear": lambda: oracle.perceptron(rng, (8, 8), [10]),
        "two layers of squares": lambda: oracle.convnet(rng, (8, 8), 3, 3, 2, [12, 10]),
        "sparse": lambda: _sparse(rng),
    }[kind]()
    planned = plan(net, images)
    if kind.startswith("two"):
        planned = _planned_within_fifty_bits(net, images)
    keys = CkksKeys(offer_of(planned, digest(b""), "drawn"))
    sent_keys = keys.evaluation()
    one, other = RingProgram(planned), ckks.Program(planned)
    mine, theirs = one.load_keys(sent_keys), other.load_keys(sent_keys)
    errors = []
    for image in images[:4]:
        sent, expected = keys.encrypt(image), oracle.logits(net, image) / planned.logit_divisor
        answers = one.run(sent, mine), other.run(sent, theirs)
        heads = [foreign.inflate(a[0], 1 << 24)[: 16 + foreign.HEAD.size] for a in answers]
        assert heads[0][16:] == heads[1][16:]  # level, form and scale, to the last bit
        slots = [keys.decrypt_slots(answer[0]) for answer in answers]
        period = 1 << (planned.num_classes - 1).bit_length()
        whole = np.pad(expected, (0, period - planned.num_classes))
        errors.append([np.sqrt(((s.reshape(-1, period) - whole) ** 2).mean()) for s in slots])
    ours_rms, seals_rms = np.mean(errors, 0)
    assert ours_rms < 1.1 * seals_rms + 1e-9
    assert ours_rms < 0.2


def _planned_within_fifty_bits(net, images):
    from privacy.encrypted import plan as planning

    return next(p for p in planning.plans(net, images) if fits(p.recipe))


def _sparse(rng):
    """Some diagonals, and whole giant steps, encode to zero."""
    net = oracle.perceptron(rng, (8, 8), [16, 10])
    first = net.layers[0].weight.copy()
    first[:, 3:] = 0
    return Net(net.shape, 1, (Dense(first, net.layers[0].bias), net.layers[1]))


def test_silent_weights_are_refused():
    images = RNG.random((20, 8, 8))
    net = oracle.perceptron(RNG, (8, 8), [16, 10])
    first = net.layers[0]
    silent = Net(net.shape, 1, (Dense(first.weight * 0, first.bias * 0), net.layers[1]))
    with pytest.raises(ModelError, match="all zero"):
        RingProgram(plan(silent, images))


def test_what_a_client_of_this_model_would_not_send_is_refused():
    _, images, ring, _, keys, sent_keys = served()
    mine, sent = ring.load_keys(sent_keys), keys.encrypt(images[0])
    with pytest.raises(CiphertextError, match="2 parts, where one ciphertext"):
        ring.run((b"", b""), mine)
    with pytest.raises(CiphertextError, match="first level and scale"):
        ring.run(ring.run(sent, mine), mine)
    with pytest.raises(CiphertextError, match="1 parts, where two kinds"):
        ring.load_keys(sent_keys[:1])
    few = CkksKeys(keys.offer.model_copy(update={"rotations": keys.offer.rotations[:1]}))
    with pytest.raises(CiphertextError, match="lack a rotation"):
        ring.load_keys(few.evaluation())
    with pytest.raises(CiphertextError):
        ring.load_keys((sent_keys[1], sent_keys[0]))


def test_seal_computes_where_this_room_would_not_be_exact_or_fast(monkeypatch):
    planned = served()[2].plan
    assert isinstance(engine(planned), RingProgram)
    wide = dataclasses.replace(planned.recipe, prime_bits=(36, 51))
    assert not fits(wide)
    monkeypatch.setattr(program, "machine_fits", lambda: False)
    assert isinstance(engines.engine(planned), ckks.Program)


def test_the_fastest_recipe_of_each_usual_depth_is_for_this_room():
    for squares in range(3):
        assert any(fits(recipe) for recipe in recipes(squares))
