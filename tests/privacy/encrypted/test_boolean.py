"""The boolean circuit computes the binarized net; what computes wrongly is not served."""

import numpy as np
import pytest
import served
import torch
from hypothesis import given
from hypothesis import strategies as st

from clients.data.sets import load
from privacy.encrypted import boolean
from privacy.encrypted.boolean import BinaryNet, Choice, Circuit, compile_net
from privacy.encrypted.boolean_keys import BooleanKeys
from privacy.encrypted.wire import BooleanOffer
from privacy.errors import CiphertextError, ModelError
from server.inference.program import binary_net_of, compile_run, trained_model

EXACT = (Choice(0, 0, 2.0**-20),)
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
    assert np.abs(2 * found - (net.v @ hidden + net.c)).max() <= 1  # constants are rounded


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
    bits = net.bits(images)
    labels = net.logits(bits).argmax(1)
    compiled = compile_net(net, bits, labels, choices=EXACT)
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
        p_error=compiled.choice.p_error,
    )
    return net, images, compiled, Circuit(path, compiled.input_bytes), BooleanKeys(offer)


def test_encrypted_logits_are_the_plain_ones(case):
    net, images, compiled, circuit, keys = case
    evaluation = circuit.load_keys(keys.evaluation())
    for image in images[:3]:
        answer = circuit.run(keys.encrypt(image), evaluation)
        assert np.array_equal(keys.decrypt(answer), net.logits(net.bits(image[None]))[0])
    assert compiled.simulated_accuracy == compiled.plain_accuracy == 1


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
    assert len(keys.encrypt(images[0])[0]) < 0.2 * compiled.circuit.size_of_inputs * 100
    assert compiled.circuit.configuration.compress_input_ciphertexts
    assert compiled.circuit.configuration.compress_evaluation_keys


def test_a_circuit_that_computes_wrongly_is_not_served(monkeypatch):
    """Concrete may do so without a word (its issue 1306)."""
    net = random_net(np.random.default_rng(5))
    bits = net.bits(np.random.default_rng(6).random((60, 4, 4)))
    compile_circuit = boolean._compile

    class Broken:
        def __init__(self, circuit):
            self._circuit = circuit

        def __getattr__(self, name):
            return getattr(self._circuit, name)

        def run(self, *arguments):
            return self._circuit.run(self._circuit.encrypt(1 - bits[0]))

    monkeypatch.setattr(boolean, "_compile", lambda *a: Broken(compile_circuit(*a)))
    labels = net.logits(bits).argmax(1)
    with pytest.raises(ModelError, match="computes wrongly"):
        compile_net(net, bits, labels, choices=EXACT)


def test_rounding_that_costs_accuracy_is_not_chosen():
    net = random_net(np.random.default_rng(5))
    bits = net.bits(np.random.default_rng(6).random((60, 4, 4)))
    labels = net.logits(bits).argmax(1)
    with pytest.raises(ModelError, match="no parameters under which this net keeps its accuracy"):
        compile_net(net, bits, labels, choices=(Choice(0, 4, 0.3),))


def test_records_that_are_shown_need_fewer_bits():
    """One bit less for the sums, and only for them who do not need it."""
    net = random_net(np.random.default_rng(7))
    bits = net.bits(np.random.default_rng(8).random((400, 4, 4)))
    sums = bits @ net.w.T
    reach = [np.minimum(sums, sums + net.offsets).min(1), np.maximum(sums, sums + net.offsets)]
    all_fit, fewer = (boolean._narrow(net, bits, narrowed, 0) for narrowed in (0, 1))
    assert all_fit.all()
    assert 20 <= fewer.sum() < 400
    limit = 8 if max(sums.max(), -sums.min()) > 7 else 4
    fits = (reach[0] >= -limit) & (reach[1].max(1) < limit)
    assert np.array_equal(fits, fewer)
    with pytest.raises(RuntimeError, match="records fit"):
        boolean._narrow(net, bits, 3, 0)


def test_a_sum_too_wide_for_a_narrow_circuit_wraps_in_simulation_too():
    """What is chosen by simulation must be simulated: the price of a narrow sum is seen there."""
    net = random_net(np.random.default_rng(7))
    bits = net.bits(np.random.default_rng(8).random((400, 4, 4)))
    circuit = boolean._compile(net, bits, Choice(1, 0, 2.0**-20))
    wide = bits[~boolean._narrow(net, bits, 1, 0)]
    simulated = np.array([circuit.simulate(record) for record in wide])
    limit = 8 if max((bits @ net.w.T).max(), -(bits @ net.w.T).min()) > 7 else 4
    sums = (wide @ net.w.T + net.offsets + limit) % (2 * limit) - limit
    assert np.array_equal(simulated, (sums >= 0) @ net.v.T + net.constants)
    assert not np.array_equal(simulated, net.logits(wide))


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
    clear = (best[:, 0] - best[:, 1] > 2).numpy()  # the last biases are rounded to steps of 2
    assert clear.sum() > 20
    found = net.logits(net.bits(images)).argmax(1)
    assert np.array_equal(found[clear], logits.argmax(1).numpy()[clear])
    compiled = compile_net(net, net.bits(images), data.test_y[:120], EXACT)
    simulated = np.array([compiled.circuit.simulate(record) for record in net.bits(images[:10])])
    assert np.array_equal(simulated, net.logits(net.bits(images[:10])))
    plain = served.train(tmp_path, name="plain")
    with pytest.raises(ModelError, match="privet run encrypted-binary"):
        compile_run(plain, "boolean", tmp_path)
