"""CKKS programs compute what the net computes, at a depth and range planned before; none leaks."""

import dataclasses

import numpy as np
import oracles_encrypted as oracle
import pytest
import tenseal.sealapi as seal
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encrypted import plan as planning
from privacy.encrypted.batch import (
    BatchProgram,
    batch_from_bytes,
    batch_net,
    batch_offer,
    batch_to_bytes,
)
from privacy.encrypted.ckks import Program, correct_rounding, galois_elements
from privacy.encrypted.keys import CkksKeys
from privacy.encrypted.net import Dense, Net
from privacy.encrypted.plan import plan
from privacy.encrypted.programs import digest, offer_of, plan_from_bytes, plan_to_bytes
from privacy.encrypted.recipes import recipes
from privacy.errors import CiphertextError, ModelError, RunError
from privacy.seal import from_bytes, make_context, to_bytes
from privacy.security import ERROR_DEVIATION

RNG = np.random.default_rng(0)


@st.composite
def nets(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    side = draw(st.integers(4, 10))
    hidden = draw(st.lists(st.integers(4, 20), min_size=0, max_size=2))
    classes = draw(st.integers(2, 12))
    if draw(st.booleans()):
        kernel, stride = draw(st.integers(1, side)), draw(st.integers(1, 3))
        net = oracle.convnet(rng, (side, side), 3, kernel, stride, [*hidden[:1], classes])
    else:
        pool = 2 if side % 2 == 0 and draw(st.booleans()) else 1
        net = oracle.perceptron(rng, (side, side), [*hidden, classes], pool)
    return net, rng.random((20, side, side))


@settings(max_examples=40, deadline=None)
@given(nets())
def test_a_plan_computes_the_net_in_every_slot(case):
    """No slot ends with a partial sum: each is a whole logit, or zero."""
    net, images = case
    planned = plan(net, images)
    slots, _ = planned.simulate(planned.pack(images[:2]))
    expected = np.stack([oracle.logits(net, image) for image in images[:2]])
    period = 1 << (planned.num_classes - 1).bit_length()
    padded = np.pad(expected, ((0, 0), (0, period - planned.num_classes)))
    whole = np.tile(padded, (1, planned.num_slots // period))
    assert np.allclose(slots * planned.logit_divisor, whole, atol=1e-9 * np.abs(whole).max() + 1e-9)


@settings(max_examples=6, deadline=None)
@given(nets())
def test_encrypted_logits_are_the_plain_ones(case):
    net, images = case
    planned = plan(net, images)
    program = Program(planned)
    keys = CkksKeys(offer_of(planned, digest(b""), "drawn"))
    evaluation = program.load_keys(keys.evaluation())
    answer = program.run(keys.encrypt(images[0]), evaluation)
    found = keys.decrypt(answer)
    expected = oracle.logits(net, images[0])
    assert np.abs(found - expected).max() < 0.4 * planned.logit_divisor
    # and no other slot of the answer tells more than the logits do
    slots = keys.decrypt_slots(answer[0]).reshape(-1, 1 << (planned.num_classes - 1).bit_length())
    assert (slots[:, planned.num_classes :] ** 2).sum() < 0.2**2 * slots.size
    assert ((slots - slots.mean(0)) ** 2).mean() < 0.2**2


def test_noise_in_a_copy_is_no_other_key(monkeypatch):
    """Of thousands of copies one is now and then off by a logit; chance is in them all."""
    planned = plan(oracle.perceptron(RNG, (4, 4), [6]), RNG.random((20, 4, 4)))
    keys = CkksKeys(offer_of(planned, digest(b""), "drawn"))
    logits = np.array([0.2, -0.5, 0.1, 0.9, 0.0, -0.1, 0.0, 0.0])
    slots = np.tile(logits, planned.num_slots // 8)
    slots[11] += 1.2
    monkeypatch.setattr(keys, "decrypt_slots", lambda answer: slots)
    found = keys.decrypt((b"",)) / planned.logit_divisor
    assert np.abs(found - logits[:6]).max() < 0.01
    slots = RNG.normal(0, 2, planned.num_slots)
    with pytest.raises(CiphertextError, match="another key's"):
        keys.decrypt((b"",))


def test_the_shift_by_rounding_and_noise_is_taken_from_the_last_bias():
    """The encrypted program's mean logits become those of the net; the diagonals stay."""
    net, images = oracle.perceptron(RNG, (8, 8), [16, 10]), RNG.random((60, 8, 8))
    planned = plan(net, images)
    corrected = correct_rounding(planned, images)
    x = planned.pack(images)
    deviation = ERROR_DEVIATION * (planned.recipe.degree / 2) ** 0.5 / 2**planned.recipe.input_bits
    noisy = x + RNG.normal(0, deviation, x.shape) + 1j * RNG.normal(0, deviation, x.shape)
    wanted = planned.simulate(x)[0].mean(0)
    before = np.abs(Program(planned).rounded().simulate(noisy)[0].mean(0) - wanted).max()
    after = np.abs(Program(corrected).rounded().simulate(noisy)[0].mean(0) - wanted).max()
    assert 1e-4 < before < 0.1
    assert after < 0.3 * before
    for old, new in zip(planned.products, corrected.products, strict=True):
        assert np.array_equal(old.diagonals, new.diagonals)


def test_rounded_weights_are_near_the_planned_ones():
    for net in (
        oracle.perceptron(RNG, (8, 8), [16, 10]),
        oracle.convnet(RNG, (8, 8), 4, 3, 2, [8, 10]),
    ):
        planned = plan(net, RNG.random((20, 8, 8)))
        rounded = Program(planned).rounded()
        for product, encoded in zip(planned.products, rounded.products, strict=True):
            error = np.abs(product.diagonals - encoded.diagonals)
            assert 0 < error.max() < 0.05 * np.abs(product.diagonals).max()


def test_a_net_too_deep_is_refused_with_what_would_fit():
    net = oracle.perceptron(RNG, (4, 4), [4] * 12)
    with pytest.raises(ModelError, match=r"needs a depth of 23 products; .* has 17: at most 8 act"):
        plan(net, RNG.random((5, 4, 4)))


def test_a_net_too_wide_is_refused_with_what_would_fit():
    net = oracle.perceptron(RNG, (4, 4), [20000, 2])
    with pytest.raises(ModelError, match=r"does not fit \d+ slots.* use \[model\] pool"):
        plan(net, RNG.random((2, 4, 4)))


def test_a_wider_net_gets_a_larger_ring():
    small = plan(oracle.perceptron(RNG, (8, 8), [16, 10]), RNG.random((5, 8, 8)))
    large = plan(oracle.perceptron(RNG, (8, 8), [3000, 10]), RNG.random((2, 8, 8)))
    assert small.recipe.degree == 4096
    assert large.recipe.degree > 4096


def test_what_would_overflow_is_refused_before_it_runs(monkeypatch):
    """SEAL itself says nothing: the guard is ours. A last prime without room must be refused."""
    tight = dataclasses.replace(next(recipes(1)), prime_bits=(23, 37))
    monkeypatch.setattr(planning, "require_depth", lambda squares: [tight])
    with pytest.raises(ModelError, match=r"layer 0: after its square.* would overflow"):
        plan(oracle.perceptron(RNG, (8, 8), [16, 10]), RNG.random((50, 8, 8)))


def test_logits_fill_the_room_of_the_last_level_and_no_more():
    planned = plan(oracle.perceptron(RNG, (8, 8), [16, 10]), images := RNG.random((50, 8, 8)))
    slots, _ = planned.simulate(planned.pack(images))
    last = planned.steps[-1]
    modulus_bits = sum(planned.recipe.prime_bits[: last.primes])
    coefficients = np.abs(np.fft.fft(slots)).max() / planned.num_slots  # of a periodic vector
    assert np.log2(coefficients) + last.scale_bits < modulus_bits - 1
    assert planned.headroom_bits >= 1 - 1e-9


def test_the_depth_that_is_planned_is_the_depth_that_is_used():
    """Scale and level after each step are those that SEAL reports."""
    images = RNG.random((20, 8, 8))
    planned = plan(oracle.convnet(RNG, (8, 8), 4, 3, 2, [8, 10]), images)
    program, keys = Program(planned), CkksKeys(offer_of(planned, digest(b""), "drawn"))
    x = from_bytes(seal.Ciphertext(), program.context, keys.encrypt(images[0])[0])
    result = program.evaluate(x, program.load_keys(keys.evaluation()))
    last = planned.steps[-1]
    assert result.coeff_modulus_size() == last.primes
    assert np.log2(result.scale) == pytest.approx(last.scale_bits, abs=0.01)


def test_galois_keys_are_elements_and_only_those_in_use():
    """SEAL takes automorphisms, not steps: keys for 3^k rotate by k, and there is no other."""
    planned = plan(oracle.perceptron(RNG, (8, 8), [16, 10]), RNG.random((5, 8, 8)))
    program, keys = Program(planned), CkksKeys(offer_of(planned, digest(b""), "drawn"))
    galois = program.load_keys(keys.evaluation()).galois
    needed = set(galois_elements(planned.rotations, planned.recipe.degree))
    held = {e for e in range(1, 2 * planned.recipe.degree, 2) if galois.has_key(e)}
    assert held == needed
    encoder, evaluator = seal.CKKSEncoder(program.context), seal.Evaluator(program.context)
    slots = RNG.random(planned.num_slots)
    step = planned.rotations[0]
    fine = keys.offer.model_copy(update={"input_bits": 34.0})
    keys.offer = fine  # the model's own scale would drown in a rotation's noise
    x = from_bytes(seal.Ciphertext(), program.context, keys.encrypt_slots(slots + 0j))
    evaluator.apply_galois_inplace(x, pow(3, step, 2 * planned.recipe.degree), galois)
    turned = keys.decrypt_slots(to_bytes(x))
    assert np.abs(turned - np.roll(slots, -step)).max() < 1e-3
    assert encoder.slot_count() == planned.num_slots


def test_keys_without_a_rotation_are_refused():
    planned = plan(oracle.perceptron(RNG, (8, 8), [16, 10]), RNG.random((5, 8, 8)))
    offer = offer_of(planned, digest(b""), "drawn")
    few = CkksKeys(offer.model_copy(update={"rotations": offer.rotations[:1]}))
    with pytest.raises(CiphertextError, match="lack a rotation"):
        Program(planned).load_keys(few.evaluation())


def test_weights_that_encode_to_zero_are_left_out():
    """A product with them would be a transparent ciphertext, which SEAL refuses to make."""
    images = RNG.random((20, 8, 8))
    net = oracle.perceptron(RNG, (8, 8), [16, 10])
    first = net.layers[0].weight.copy()
    first[:, 3:] = 0
    sparse = Net(net.shape, 1, (Dense(first, net.layers[0].bias), net.layers[1]))
    planned = plan(sparse, images)
    program, keys = Program(planned), CkksKeys(offer_of(planned, digest(b""), "drawn"))
    answer = program.run(keys.encrypt(images[0]), program.load_keys(keys.evaluation()))
    error = keys.decrypt(answer) - oracle.logits(sparse, images[0])
    assert np.abs(error).max() < 0.1 * planned.logit_divisor
    silent = Net(net.shape, 1, (Dense(first * 0, net.layers[0].bias * 0), net.layers[1]))
    with pytest.raises(ModelError, match="all zero"):
        Program(plan(silent, images))


def test_security_is_never_weakened():
    with pytest.raises(ModelError, match="CKKS parameters"):
        make_context(4096, (40, 40, 40), 40)
    for squares in range(4):
        for recipe in recipes(squares):
            make_context(recipe.degree, recipe.prime_bits, recipe.special_bits)


def test_uploads_are_seeded():
    """Half of a fresh ciphertext is a seed: it takes half the bytes of a whole one."""
    planned = plan(oracle.perceptron(RNG, (8, 8), [16, 10]), RNG.random((5, 8, 8)))
    program, keys = Program(planned), CkksKeys(offer_of(planned, digest(b""), "drawn"))
    (upload,) = keys.encrypt(RNG.random((8, 8)))
    whole = to_bytes(from_bytes(seal.Ciphertext(), program.context, upload))
    assert len(upload) < 0.55 * len(whole)


def test_a_ciphertext_at_another_level_or_scale_is_refused():
    planned = plan(oracle.perceptron(RNG, (8, 8), [16, 10]), RNG.random((5, 8, 8)))
    program, offer = Program(planned), offer_of(planned, digest(b""), "drawn")
    keys = CkksKeys(offer)
    evaluation = program.load_keys(keys.evaluation())
    other = CkksKeys(offer.model_copy(update={"input_bits": offer.input_bits + 1}))
    with pytest.raises(CiphertextError, match="first level and scale"):
        program.run(other.encrypt(RNG.random((8, 8))), evaluation)
    answer = program.run(keys.encrypt(RNG.random((8, 8))), evaluation)
    with pytest.raises(CiphertextError, match="first level and scale"):
        program.run(answer, evaluation)
    with pytest.raises(CiphertextError, match="2 parts"):
        program.run((b"", b""), evaluation)


def test_a_plan_survives_its_bytes_and_damage_is_noticed():
    planned = plan(oracle.convnet(RNG, (8, 8), 4, 3, 2, [8, 10]), RNG.random((5, 8, 8)))
    content = plan_to_bytes(planned)
    again = plan_from_bytes(content)
    assert plan_to_bytes(again) == content
    assert again.steps == planned.steps
    x = planned.pack(RNG.random((2, 8, 8)))
    assert np.array_equal(again.simulate(x)[0], planned.simulate(x)[0])
    with pytest.raises(RunError, match="damaged"):
        plan_from_bytes(content[:-9])


@pytest.fixture(scope="module")
def batched():
    images = RNG.random((30, 8, 8))
    net = oracle.perceptron(RNG, (8, 8), [7, 5], pool=2)
    integers, divisor = batch_net(net, images)
    offer = offer_of(plan(net, images), digest(b""), "drawn", batch_offer(net, divisor))
    return net, images, BatchProgram(batch_from_bytes(batch_to_bytes(integers))), CkksKeys(offer)


def test_a_batch_is_the_net_on_each_image(batched):
    net, images, program, keys = batched
    found = keys.decrypt_batch(program.run(keys.encrypt_batch(images)), len(images))
    expected = np.stack([oracle.logits(net, image) for image in images])
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_a_batch_is_computed_exactly(batched):
    """Words at the edge of their primes too, against Python's integers of any size."""
    program, net = batched[2], batched[2].net
    primes = [m.value() for m in program.context.first_context_data().parms().coeff_modulus()]
    edge = np.array(primes) - 1
    x_IKLN = RNG.integers(0, min(primes), (16, 2, 3, 6))
    x_IKLN[..., 0], x_IKLN[..., 1] = 0, edge
    found = program.evaluate(x_IKLN.astype(np.float64))
    w1, b1, w2, b2 = (np.vectorize(int, [object])(a) for a in vars(net).values())
    z = np.tensordot(w1, x_IKLN.astype(object), 1)
    z[:, 0] += b1[:, None, None]
    squares = np.stack([z[:, 0] * z[:, 0], 2 * z[:, 0] * z[:, 1], z[:, 1] * z[:, 1]], 1)
    y = np.tensordot(w2, squares, 1)
    y[:, 0] += b2[:, None, None]
    assert (found == y % np.array(primes, object)[:, None]).all()


def test_a_batch_of_other_ciphertexts_is_refused(batched):
    _, images, program, keys = batched
    parts = keys.encrypt_batch(images)
    with pytest.raises(CiphertextError, match="15 pixels; the model has 16"):
        program.run(parts[1:])
    with pytest.raises(CiphertextError, match="first level and scale"):
        program.run((*keys.encrypt(images[0]), *parts[1:]))
    with pytest.raises(CiphertextError):
        program.run((parts[0][:-1], *parts[1:]))


def test_batches_are_for_nets_whose_sums_are_exact():
    images = RNG.random((5, 8, 8))
    with pytest.raises(ModelError, match="one hidden layer"):
        batch_net(oracle.convnet(RNG, (8, 8), 4, 3, 2, [10]), images)
    net = oracle.perceptron(RNG, (8, 8), [7, 5])
    cancelling = Dense(np.tile([1e4, -1e4], (7, 32)), np.ones(7))
    with pytest.raises(ModelError, match="exact sums"):
        batch_net(Net(net.shape, 1, (cancelling, net.layers[1])), images * 0 + 0.5)
    with pytest.raises(ModelError, match="1024 inputs; a batch has room for 900"):
        batch_net(oracle.perceptron(RNG, (32, 32), [7, 5]), RNG.random((5, 32, 32)))
