"""The boolean circuit computes the binarized net, and errs no more than arithmetic says."""

import contextlib
import json
import multiprocessing
import socket

import numpy as np
import pytest
import served
import torch
from hypothesis import given
from hypothesis import strategies as st

from clients.data.sets import load
from privacy.encrypted import boolean
from privacy.encrypted.boolean import (
    CALIBRATION,
    ERROR_RATE,
    Circuit,
    Lattice,
    compile_net,
    lattices,
)
from privacy.encrypted.boolean_keys import BooleanKeys
from privacy.encrypted.signs import STEPS, BinaryNet, with_parity, wrapped_logits
from privacy.encrypted.wire import BooleanOffer
from privacy.errors import CiphertextError, ModelError
from server.inference.program import binary_net_of, compile_run, trained_model

RNG = np.random.default_rng(3)


def random_net(rng, side=4, hidden=6, classes=3):
    def signs(*shape):
        return rng.choice([-1, 1], shape)

    return BinaryNet(
        w=signs(hidden, side * side),
        b=rng.normal(0, 2, hidden),
        v=signs(classes, hidden),
        c=rng.normal(0, 1, classes),
        shape=(side, side),
        pool=1,
        threshold=0.5,
    )


@given(st.integers(0, 2**32))
def test_bits_and_offsets_are_the_net_of_signs(seed):
    """[W u + t >= 0] with u in {0, 1} is sign(W x + b) with x in {-1, +1}; so is the order."""
    rng = np.random.default_rng(seed)
    net = random_net(rng)
    image = rng.random((4, 4))
    x = np.where(image.ravel() >= net.threshold, 1, -1)
    hidden = np.array([1 if row @ x + b >= 0 else -1 for row, b in zip(net.w, net.b, strict=True)])
    found = net.logits(net.bits(image[None]))[0]
    assert np.abs(found / STEPS - (net.v @ hidden + net.c)).max() <= 0.5 / STEPS  # rounded


def test_weights_other_than_signs_are_refused():
    net = random_net(RNG)
    with pytest.raises(ModelError, match="-1 or \\+1"):
        BinaryNet(net.w * 2, net.b, net.v, net.c, (4, 4), 1, 0.5)
    with pytest.raises(ModelError, match="do not fit"):
        BinaryNet(net.w[1:], net.b, net.v, net.c, (4, 4), 1, 0.5)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    net = random_net(np.random.default_rng(5))
    images = np.random.default_rng(6).random((60, 4, 4))
    compiled = compile_net(net)
    path = tmp_path_factory.mktemp("boolean") / "server.zip"
    path.write_bytes(compiled.server_bytes())
    import base64

    offer = BooleanOffer(
        model="0" * 32,
        shape=(4, 4),
        pool=1,
        threshold=0.5,
        num_classes=3,
        specs=base64.b64encode(compiled.client_specs()).decode(),
        sum_bits=compiled.sum_bits,
        p_error=compiled.p_error,
        error_rate=compiled.error_rate,
        calibration=CALIBRATION,
    )
    return net, images, compiled, Circuit(path, compiled.input_bytes), BooleanKeys(offer)


def test_encrypted_logits_are_the_plain_ones(case):
    net, images, _, circuit, keys = case
    evaluation = circuit.load_keys(keys.evaluation())
    for image in images[:3]:
        answer = circuit.run(keys.encrypt(image), evaluation)
        assert np.array_equal(keys.decrypt(answer), net.logits(net.bits(image[None]))[0])


def test_a_secret_key_survives_its_bytes_and_stays_with_the_client(case):
    net, images, compiled, circuit, keys = case
    secret = keys.secret_bytes()
    again = BooleanKeys(keys.offer, secret)
    answer = circuit.run(again.encrypt(images[0]), circuit.load_keys(keys.evaluation()))
    assert np.array_equal(again.decrypt(answer), net.logits(net.bits(images[:1]))[0])
    # all keys hold the evaluation keys and the secret ones; what leaves holds only the former
    evaluation = keys.evaluation()[0]
    assert len(evaluation) < len(secret)
    assert len(compiled.server_bytes()) < 1_000_000


def test_foreign_bytes_are_refused(case):
    _, images, _, circuit, keys = case
    evaluation = circuit.load_keys(keys.evaluation())
    (upload,) = keys.encrypt(images[0])
    for parts in ((), (upload, upload), (upload[:-100],), (upload * 2,)):
        with pytest.raises(CiphertextError):
            circuit.run(parts, evaluation)
    with pytest.raises(CiphertextError):
        circuit.load_keys((b"x" * 1000,))
    with pytest.raises(CiphertextError):
        keys.decrypt((b"x" * 100,))
    with pytest.raises(CiphertextError):
        BooleanKeys(keys.offer, b"not keys")


def test_inputs_are_compressed(case):
    _, images, compiled, _, keys = case
    assert len(keys.encrypt(images[0])[0]) == compiled.input_bytes  # told before a key is made
    assert len(keys.encrypt(images[0])[0]) < 0.2 * compiled.circuit.size_of_inputs * 100
    assert compiled.circuit.configuration.compress_input_ciphertexts
    assert compiled.circuit.configuration.compress_evaluation_keys


def test_a_circuit_that_computes_wrongly_is_not_served(monkeypatch):
    """Concrete may do so without a word (its issue 1306)."""
    compile_circuit = boolean._compile

    class Broken:
        def __init__(self, circuit):
            self._circuit = circuit

        def __getattr__(self, name):
            return getattr(self._circuit, name)

        def simulate(self, bits):
            return self._circuit.simulate(1 - bits)

    monkeypatch.setattr(boolean, "_compile", lambda *a: Broken(compile_circuit(*a)))
    with pytest.raises(ModelError, match="computes wrongly"):
        compile_net(random_net(np.random.default_rng(5)))


@pytest.mark.parametrize("cared_for", [True, False])
def test_a_client_that_leaves_does_not_end_who_compiled(cared_for):
    """LLVM catches SIGPIPE, and ends the process: which it does, twin, without our care."""
    child = multiprocessing.get_context("spawn").Process(target=be_left, args=(cared_for,))
    child.start()
    child.join()
    assert (child.exitcode == 0) == cared_for


def be_left(cared_for):
    """Compile, then write to somebody who has left."""
    compiling = compile_net if cared_for else compile_net.__wrapped__
    compiling(random_net(np.random.default_rng(0)))
    here, there = socket.socketpair()
    there.close()
    with contextlib.suppress(BrokenPipeError):
        here.sendall(b"x")


def test_to_compile_is_no_trial(monkeypatch):
    """No key is made and nothing is run: a service starts as surely as it compiles."""
    from concrete import fhe

    for name in ("keygen", "encrypt", "run", "decrypt"):
        monkeypatch.setattr(fhe.Circuit, name, lambda *a: pytest.fail("a trial"))
    net = random_net(np.random.default_rng(5))
    first, second = (compile_net(net) for _ in range(2))
    assert first.client_specs() == second.client_specs()


def test_the_chance_of_an_error_is_bounded_by_arithmetic(case):
    """A bootstrap a unit and a decryption a class, each at most as often wrong as is told."""
    net, _, compiled, _, _ = case
    assert compiled.circuit.programmable_bootstrap_count == len(net.w)
    chances = len(net.w) + len(net.v)
    assert 0 < compiled.circuit.p_error == compiled.p_error <= ERROR_RATE / chances
    assert compiled.error_rate == pytest.approx(chances * compiled.p_error)
    assert compiled.error_rate <= ERROR_RATE == 1e-3


def edge_net():
    """Forty units whose sums are one step on either side of the threshold for most inputs."""
    rng = np.random.default_rng(11)
    w = rng.choice([-1, 1], (40, 16))
    thresholds = rng.integers(-1, 1, 40) + 0.5
    b = w.sum(1) + 2 * (thresholds - np.rint(w.sum(1) / 2))
    return BinaryNet(w, b, rng.choice([-1, 1], (3, 40)), np.zeros(3), (4, 4), 1, 0.5)


def test_noise_errs_no_more_than_is_told_where_it_can_err_at_all(monkeypatch):
    """Sums beside the threshold, where rounding that is off by half a step shows at once."""
    monkeypatch.setattr(boolean, "_require_right", lambda *a: None)  # here hardly any answer is
    net, p_error = edge_net(), 0.1
    compiled = compile_net(net, p_error=p_error)
    bits = np.random.default_rng(12).integers(0, 2, (40, 16))
    sums = bits @ net.w.T + net.offsets
    near = int(((sums >= -2) & (sums < 2)).sum())
    assert near > 300
    simulated = np.array([compiled.circuit.simulate(record) for record in with_parity(bits)])
    apart = np.abs(simulated - net.logits(bits)).max(1) / (2 * STEPS)  # units that erred, about
    assert apart.sum() < near * p_error + 3 * (near * p_error) ** 0.5


@given(st.integers(0, 2**32))
def test_even_rows_are_the_even_number_below(seed):
    """With the parity as one input more, every sum is even, and on the same side of zero."""
    rng = np.random.default_rng(seed)
    net = random_net(rng)
    bits = rng.integers(0, 2, (20, 16))
    rows, offsets = net.even_rows()
    even = with_parity(bits) @ rows.T + offsets
    assert np.array_equal(even, 2 * ((bits @ net.w.T + net.offsets) // 2))


@given(st.integers(0, 2**32))
def test_the_reach_of_the_weights_holds_every_sum(seed):
    """Each row's worst inputs stay within the width, and one of them needs it."""
    net = random_net(np.random.default_rng(seed))
    worst = np.concatenate([net.w > 0, net.w < 0]).astype(np.int64)
    sums = worst @ net.w.T + net.offsets
    half = 1 << net.reach_bits - 1
    assert -half <= sums.min()
    assert sums.max() < half
    assert sums.max() >= half // 2 or sums.min() < -half // 2
    assert np.array_equal(wrapped_logits(net, worst, net.reach_bits), net.logits(worst))


def test_sums_are_as_wide_as_training_kept_them_and_wrap_beyond():
    """Simulated, one bit less than the weights reach: what does not fit counts the other way."""
    net = random_net(np.random.default_rng(7), side=6)
    assert net.reach_bits == 6
    narrow = compile_net(net, accumulator_bits=3)
    assert narrow.sum_bits == 4
    assert compile_net(net, accumulator_bits=9).sum_bits == 6
    bits = np.random.default_rng(8).integers(0, 2, (12, 36))
    simulated = np.array([narrow.circuit.simulate(record) for record in with_parity(bits)])
    wrapped = wrapped_logits(net, bits, 4)
    assert not np.array_equal(wrapped, net.logits(bits))
    assert (simulated == wrapped).all(1).sum() >= 11


def test_offsets_beyond_the_width_do_not_widen_the_circuit():
    """Constants wrap round like sums: a dead unit's would make every bootstrap dearer."""
    net = random_net(np.random.default_rng(7))
    b = net.b.copy()
    b[0] += 2 * (1 << 5)  # t by a whole turn of five bits
    turned = BinaryNet(net.w, b, net.v, net.c, net.shape, net.pool, net.threshold)
    one, other = (compile_net(n, accumulator_bits=4) for n in (net, turned))
    assert one.complexity == other.complexity
    bits = np.random.default_rng(8).integers(0, 2, (2, 16))
    for record in with_parity(bits):
        assert np.array_equal(one.circuit.simulate(record), other.circuit.simulate(record))


def test_what_a_circuit_encrypts_under_is_checked(case, monkeypatch):
    """Both keys and the input; one error a bit too small is refused."""
    found = lattices(json.loads(case[2].client_specs()))
    assert len(found) == 3
    boolean._require_security(found)
    for lattice in found:
        with pytest.raises(ModelError, match=r"128-bit security .* is the least"):
            boolean._require_security([Lattice(lattice.dimension, lattice.deviation / 4)])
    monkeypatch.setattr(boolean, "lattices", lambda specs: [Lattice(700, 2.0**-20)])
    with pytest.raises(ModelError, match="dimension 700"):
        compile_net(case[0])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return served.train(tmp_path_factory.mktemp("binary"), *served.SIGNS)


def test_the_perceptron_of_the_arithmetic_room_compiles_unchanged(trained, tmp_path):
    """`privet run` trains it, and the circuit of a simulated encryption answers as it does."""
    data, model = load(trained.experiment.data), trained_model(trained)
    net, images = binary_net_of(model, trained.experiment), data.test_x[:120] / data.scale
    with torch.no_grad():
        logits = model(torch.from_numpy(images).float())
    last = model[-1]
    unit = float(last.projection(last.weight, training=False).abs().max())
    best = logits.topk(2).values / unit
    clear = (best[:, 0] - best[:, 1] > 1 / STEPS).numpy()  # the last biases are rounded to steps
    assert clear.sum() > 60
    found = net.logits(net.bits(images)).argmax(1)
    assert np.array_equal(found[clear], logits.argmax(1).numpy()[clear])
    compiled = compile_net(net)
    shown = net.bits(images[:4])
    simulated = np.array([compiled.circuit.simulate(record) for record in with_parity(shown)])
    assert np.array_equal(simulated, net.logits(shown))
    plain = served.train(tmp_path, name="plain")
    with pytest.raises(ModelError, match="privet run encrypted-binary"):
        compile_run(plain, "boolean", tmp_path)
