"""The secret side: keys stay with their user, and what is not for them does not decrypt."""

import os
import stat
from dataclasses import replace

import numpy as np
import oracles_encrypted as oracle
import pytest
import tenseal.sealapi as seal

from privacy.encrypted import ckks
from privacy.encrypted.ckks import Program, choose_plan
from privacy.encrypted.keys import NOISE, CkksKeys, flood, load_secret, save_secret
from privacy.encrypted.plan import plan
from privacy.encrypted.programs import digest, offer_of
from privacy.errors import CiphertextError, KeysError, ModelError
from privacy.seal import from_bytes
from privacy.sealed import inflate

RNG = np.random.default_rng(1)


@pytest.fixture(scope="module")
def case():
    images = RNG.random((20, 8, 8))
    planned = plan(oracle.perceptron(RNG, (8, 8), [8, 10]), images)
    return images, Program(planned), offer_of(planned, digest(b""), "drawn")


def test_a_secret_key_file_is_its_users_alone(tmp_path, case):
    images, program, offer = case
    path = tmp_path / "new" / "key"
    keys = CkksKeys(offer)
    before = os.umask(0)
    try:
        save_secret(path, keys.secret_bytes())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = CkksKeys(offer, load_secret(path))
    answer = program.run(keys.encrypt(images[0]), program.load_keys(again.evaluation()))
    assert np.allclose(again.decrypt(answer), keys.decrypt(answer))
    path.chmod(0o640)
    with pytest.raises(KeysError, match="others may read this secret key; run: chmod 600"):
        load_secret(path)
    with pytest.raises(KeysError, match="No such file"):
        load_secret(tmp_path / "none")


def test_small_weights_are_given_scales_that_keep_them(case):
    """At the coarsest scales all of a layer is rounded to zero: another plan is taken."""
    images, _, _ = case
    net = oracle.perceptron(RNG, (8, 8), [8, 10])
    first, last = net.layers
    small = replace(first, weight=first.weight * 1e-4, bias=first.bias * 1e-4)
    planned = choose_plan(replace(net, layers=(small, last)), images)
    assert planned.recipe.weight_bits[0] > choose_plan(net, images).recipe.weight_bits[0]
    Program(planned)
    none = replace(first, weight=first.weight * 0)
    with pytest.raises(ModelError, match="all zero at their scale"):
        Program(choose_plan(replace(net, layers=(none, last)), images))


def test_keys_that_no_service_takes_are_refused_before_they_are_made(case, monkeypatch):
    """By whoever compiles the model, and by the client: what is told is their size."""
    images, _, offer = case
    keys = CkksKeys(offer)
    size = sum(map(len, keys.evaluation()))
    net = oracle.perceptron(RNG, (8, 8), [8, 10])
    assert choose_plan(net, images).rotations == list(offer.rotations)
    monkeypatch.setattr(ckks, "MOST_KEYS_BYTES", int(1.06 * size))
    keys.evaluation()
    monkeypatch.setattr(ckks, "MOST_KEYS_BYTES", int(0.94 * size))
    for ask in (keys.evaluation, lambda: choose_plan(net, images)):
        with pytest.raises(
            ModelError, match=r"would have 2 MB, 14 of 0.1; .*a larger \[model\] pool"
        ):
            ask()


def test_what_is_not_a_secret_key_is_refused(case):
    _, _, offer = case
    with pytest.raises(CiphertextError):
        CkksKeys(offer, b"not a key")
    secret = CkksKeys(offer).secret_bytes()
    with pytest.raises(CiphertextError):
        CkksKeys(offer, secret[:-1])
    other = offer.model_copy(update={"prime_bits": (30, 30)})
    with pytest.raises(CiphertextError):
        CkksKeys(other, secret)


def test_an_answer_under_another_key_is_noticed(case):
    images, program, offer = case
    mine, theirs = CkksKeys(offer), CkksKeys(offer)
    answer = program.run(mine.encrypt(images[0]), program.load_keys(mine.evaluation()))
    with pytest.raises(CiphertextError, match="another key"):
        theirs.decrypt(answer)
    mixed = program.run(mine.encrypt(images[0]), program.load_keys(theirs.evaluation()))
    with pytest.raises(CiphertextError, match="another key"):
        mine.decrypt(mixed)


def test_evaluation_keys_hold_no_secret(case):
    """The secret polynomial's words are in the secret key's bytes, and in nothing that leaves."""
    images, _, offer = case
    keys = CkksKeys(offer)
    words = inflate(keys.secret_bytes(), 1 << 26)
    probe = words[-512:]  # 64 words of the secret in NTT form
    for leaving in (*keys.evaluation(), *keys.encrypt(images[0])):
        assert probe not in inflate(leaving, 1 << 28)
    assert probe in inflate(keys.secret_bytes(), 1 << 26)


def test_an_offer_of_weak_parameters_is_refused(case):
    _, _, offer = case
    weak = offer.model_copy(update={"degree": 2048})
    with pytest.raises(ModelError, match="CKKS parameters"):
        CkksKeys(weak)


def test_flooding_drowns_the_noise_that_encryption_left(case):
    _, _, offer = case
    logits = np.zeros(20_000)
    spread = flood(logits, offer, 3).std()
    assert spread == pytest.approx(8 * NOISE * offer.logit_divisor, rel=0.05)


def test_the_noise_in_a_logit_is_below_what_flooding_assumes(case):
    images, program, offer = case
    keys = CkksKeys(offer)
    evaluation = program.load_keys(keys.evaluation())
    exact, _ = program.plan.simulate(program.plan.pack(images))
    errors = []
    for image, slots in zip(images[:5], exact[:5], strict=True):
        (answer,) = program.run(keys.encrypt(image), evaluation)
        errors.append(np.abs(keys.decrypt_slots(answer) - slots).mean())
    assert 0 < np.mean(errors) < NOISE


def test_two_encryptions_of_one_image_share_nothing(case):
    images, program, offer = case
    keys = CkksKeys(offer)
    first, second = (inflate(keys.encrypt(images[0])[0], 1 << 24)[-50_000:] for _ in range(2))
    same = np.mean(np.frombuffer(first, np.uint64) == np.frombuffer(second, np.uint64))
    assert same < 0.01
    assert from_bytes(seal.Ciphertext(), program.context, keys.encrypt(images[0])[0]).size() == 2
