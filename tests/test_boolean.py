"""The boolean circuit computes the binarized net; what computes wrongly is not served."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clients.models import Model, build
from clients.models.binarized import PULL, BinaryLinear, Bits
from privacy import boolean
from privacy.boolean import BinaryNet, Circuit, compile_net
from privacy.boolean_keys import BooleanKeys
from privacy.errors import CiphertextError, ModelError
from privacy.wire import BooleanOffer

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
    x = np.where(image.ravel() > net.threshold, 1, -1)
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
    compiled = compile_net(net, bits, labels, choices=((0, 2.0**-20),))
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
        p_error=compiled.p_error,
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
        compile_net(net, bits, labels, choices=((0, 2.0**-20),))


def test_rounding_that_costs_accuracy_is_not_chosen(monkeypatch):
    net = random_net(np.random.default_rng(5))
    bits = net.bits(np.random.default_rng(6).random((60, 4, 4)))
    labels = net.logits(bits).argmax(1)
    with pytest.raises(ModelError, match="no parameters under which this net keeps its accuracy"):
        compile_net(net, bits, labels, choices=((4, 0.3),))


def test_a_model_of_signs_is_what_it_says():
    torch.manual_seed(0)
    model = build(Model(name="binarized", hidden=(9,)), (4, 4), 3)
    x = torch.rand(5, 4, 4)
    bits, first, head = (
        [m for m in model if isinstance(m, kind)] for kind in (Bits, BinaryLinear, BinaryLinear)
    )
    u = bits[0](x)
    hidden = torch.where(u @ torch.sign(first[0].weight).T / 2 + first[0].bias >= 0, 1.0, -1.0)
    expected = hidden @ torch.sign(head[1].weight).T / 3 + head[1].bias
    assert torch.allclose(model(x), expected, atol=1e-6)


def test_sums_beyond_the_limit_are_pulled_back():
    """The gradient of a sum z gains PULL / B (z - clamp(z)), and within the limit nothing."""
    free, held = (
        build(Model(name="binarized", hidden=(9,), sum_limit=s), (4, 4), 3) for s in (0, 1)
    )
    held.load_state_dict(free.state_dict())
    x = torch.rand(5, 4, 4)
    gradients = []
    for model in (free, held):
        model(x).sum().backward()
        gradients.append(model[2].bias.grad)
    z = free[2](free[1](free[0](x)))
    limit = 1 / 2
    pull = PULL / 5 * (z - z.clamp(-limit, limit)).sum(0)
    assert torch.allclose(gradients[1] - gradients[0], pull.detach(), atol=1e-6)
    assert pull.abs().max() > 0
