"""Streams, kernels and the stochastic layers against a simulation bit by bit."""

import math

import numpy as np
import oracles_arithmetic as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.arithmetic import Arithmetic
from clients.arithmetic.faults import flip_bits
from clients.arithmetic.passes import begin_pass, dice_of
from clients.arithmetic.streams import kernels
from clients.arithmetic.streams import registers as streams
from clients.arithmetic.streams.kernels import num_words
from clients.arithmetic.streams.stochastic import Counter, StochasticLinear
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.cipher import Key
from privacy.errors import ModelError


def bits_of(words, features):
    """Words [..., K] as bits [..., I], first feature first."""
    shifts = np.arange(64, dtype=np.uint64)
    bits = (words[..., None] >> shifts & np.uint64(1)).reshape(*words.shape[:-1], -1)
    assert not bits[..., features:].any(), "bits beyond the last feature"
    return bits[..., :features].astype(int)


# registers


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("width", streams.TAPS)
def test_registers_have_the_longest_period(width, mirrored):
    """Each state but zero once, in the order of a shift register with those taps."""
    states = streams.run_register(width, mirrored)
    assert sorted(states) == list(range(1, 1 << width))
    taps = streams.TAPS[width]
    if mirrored:
        taps = [width, *(width - tap for tap in taps[1:])]
    assert states[:300].tolist() == oracle.shift_register(width, taps, min(300, len(states)))


def test_a_register_with_other_taps_is_caught(monkeypatch):
    """Twin: x^8 + x^4 + 1 is not primitive."""
    monkeypatch.setitem(streams.TAPS, 8, (8, 4))
    states = streams.run_register.__wrapped__(8)
    assert sorted(states) != list(range(1, 256))


@pytest.mark.parametrize("width", streams.TAPS)
def test_a_whole_period_holds_a_number_exactly(width):
    """With a leap between cycles too: as many ones as the threshold."""
    period = (1 << width) - 1
    phases = np.array([0, 1, period - 1])
    states = streams.read_registers(width, period, phases)
    for value in (-1.0, -0.3, 0.0, 0.77, 1.0):
        threshold = streams.threshold(np.float32([value]), width)
        assert ((states <= threshold).sum(0) == threshold).all()
        assert abs(2 * threshold[0] / period - 1 - value) <= 1 / period + 1e-6


# expectation and variance


@settings(max_examples=12, deadline=None)
@given(
    x=st.floats(-1, 1), w=st.floats(-1, 1), length=st.sampled_from([4, 32, 256]), seed=st.integers()
)
def test_a_product_has_the_mean_and_variance_of_theory(x, w, length, seed):
    """Over 16-bit registers at random phases: mean x w, variance (1 - (x w)^2) / L."""
    num = 4000
    rng = np.random.default_rng(abs(seed))
    bits = []
    for value, mirrored in ((x, False), (w, True)):
        phases = rng.integers(0, (1 << 16) - 1, num)
        states = streams.read_registers(16, length, phases, mirrored)
        bits.append(states <= streams.threshold(np.float32([value]), 16))
    estimates = 2 * (bits[0] == bits[1]).mean(0) - 1
    variance = (1 - (x * w) ** 2) / length
    assert abs(estimates.mean() - x * w) <= 5 * math.sqrt(variance / num) + 1e-4
    assert estimates.var() == pytest.approx(variance, rel=0.25, abs=1e-4)


# kernels


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 35), st.integers(1, 4), st.integers(1, 140), st.integers(1, 70)),
    bound=st.sampled_from([1, 2, 30, 2048]),
    zero=st.sampled_from([-1, 0]),
    seed=st.integers(0, 2**31),
)
def test_kernels_are_bit_true(shape, bound, zero, seed):
    """Encoding, products, counters and packing, at shapes that do and do not fill words."""
    B, L, I, O = shape  # noqa: E741
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (B, L, I))
    w = rng.integers(0, 2, (O, L, I))
    states = np.ones((L, I), np.uint16)

    def packed(bits):  # through the encoder: the threshold is the bit itself
        words = np.empty((len(bits), L, num_words(I)), np.uint64)
        for t in range(L):
            one = np.empty((len(bits), 1, num_words(I)), np.uint64)
            kernels.encode_inputs(bits[:, t].astype(np.uint16), states[:1], one)
            words[:, t] = one[:, 0]
        return words

    words_x, rows = packed(x), np.ascontiguousarray(packed(w).transpose(1, 0, 2))
    assert (bits_of(words_x, I) == x).all()
    words_w = kernels.by_group(rows, I)
    assert (kernels.by_output(words_w, O) == rows).all()
    base, factor = kernels.base_and_factor(words_w, I, O, zero)
    words = np.empty((B, L, num_words(O)), np.uint64)
    sums = np.zeros((B, O), np.int32)
    kernels.multiply(words_x, words_w, base, factor, bound, words, sums)
    expected = oracle.products(x[-2:], w, zero)
    assert (sums[-2:] == expected.sum(1)).all()
    assert (bits_of(words, O)[-2:] == oracle.counters(expected, bound)).all()


def test_a_counter_follows_its_state_diagram():
    """Four states, -2 ... 1, the upper two give 1: every step from every state it can reach."""
    steps = np.array([[1, 1, -1, -1, -1, -1, 1, 1, 1, -1, -3, 3]])
    states = [1, 1, 0, -1, -2, -2, -1, 0, 1, 0, -2, 1]
    bits = oracle.counters(steps[..., None], 2)[0, :, 0]
    assert bits.tolist() == [int(state >= 0) for state in states]
    x = np.zeros((1, len(steps[0]), 1), np.uint64)
    w = np.zeros((len(steps[0]), 1, 1, 64), np.uint16)
    words = np.empty((1, len(steps[0]), 1), np.uint64)
    base = np.full((len(steps[0]), 64), -1, np.int16)
    base[:, 0] = steps[0]
    kernels.multiply(x, w, base, 1, 2, words, np.empty((0, 0), np.int32))
    assert bits_of(words, 1)[0, :, 0].tolist() == bits.tolist()


def test_more_records_and_cycles_than_share_a_cache():
    """Against the plain product of matrices: what the caches cut apart is put together."""
    B, L, I, O = kernels.SHARE + 5, 2 * kernels.CYCLES + 1, 250, 130  # noqa: E741
    rng = np.random.default_rng(4)
    x, w = (rng.integers(0, 2, (n, L, I)) for n in (B, O))
    expected = np.einsum("bti,oti->bto", 2 * x - 1, 2 * w - 1)
    words_x, rows = (np.zeros((n, L, num_words(I) * 64), np.uint8) for n in (B, O))
    words_x[..., :I], rows[..., :I] = x, w
    words_x, rows = (np.packbits(a, -1, "little").view(np.uint64) for a in (words_x, rows))
    words_w = kernels.by_group(np.ascontiguousarray(rows.transpose(1, 0, 2)), I)
    words, sums = np.empty((B, L, num_words(O)), np.uint64), np.zeros((B, O), np.int32)
    kernels.multiply(words_x, words_w, *kernels.base_and_factor(words_w, I, O, -1), 30, words, sums)
    assert (sums == expected.sum(1)).all()
    some = [0, kernels.SHARE - 1, kernels.SHARE, B - 1]
    assert (bits_of(words, O)[some] == oracle.counters(expected[some], 30)).all()


def test_no_bit_beyond_the_last_output_however_many_inputs():
    inputs = 16500  # more ones than a counter without weights could be led down by
    x, w = np.full((1, 1, num_words(inputs)), 2**64 - 1, np.uint64), np.zeros((3, 1, inputs))
    x[..., -1] >>= np.uint64(-inputs % 64)
    words_w = kernels.encode_weights(w[:, 0].astype(np.uint16), np.ones((1, inputs), np.uint16))
    words = np.empty((1, 1, 1), np.uint64)
    some = kernels.base_and_factor(words_w, inputs, 3, -1)
    kernels.multiply(x, words_w, *some, 2048, words, np.empty((0, 0), np.int32))
    assert not bits_of(words, 3).any()


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 20),
    i=st.integers(1, 130),
    length=st.sampled_from([1, 8, 64]),
    seed=st.integers(0, 99),
)
def test_comparators_are_bit_true(n, i, length, seed):
    rng = np.random.default_rng(seed)
    width = 8
    thresholds = rng.integers(0, 256, (n, i)).astype(np.uint16)
    states = streams.read_registers(width, length, rng.integers(0, 255, i))
    words = np.empty((n, length, num_words(i)), np.uint64)
    kernels.encode_inputs(thresholds, states, words)
    assert (bits_of(words, i) == oracle.encode(thresholds, states)).all()
    rows = kernels.by_output(kernels.encode_weights(thresholds, states), n)
    assert (rows.transpose(1, 0, 2) == words).all()


def test_thresholds_are_rounded_to_even_and_clipped():
    x = np.float32([-2, -1, -0.5, 0, 1 / 3, 1, 3])
    assert streams.threshold(x, 1).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert streams.threshold(x[None], 8).tolist() == [[0, 0, 64, 128, 170, 255, 255]]


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5])
def test_faults_hit_their_share_of_bits_evenly(rate):
    words = np.zeros((2000, 3), np.uint64)
    flips = flip_bits(words, 150, rate, 7)
    bits = bits_of(words, 150)
    assert bits.sum() == flips
    assert abs(flips - 300_000 * rate) <= 5 * math.sqrt(300_000 * rate)
    each = bits.sum(0)
    assert abs(each - 2000 * rate).max() <= 6 * math.sqrt(2000 * rate)


# a whole net


def simulate(net, x):
    """Logits of a two-layer net, cycle by cycle, with the registers of evaluation."""
    encoder, first, second = (net[i] for i in (1, 2, 6))
    I = first.weight.shape[1]  # noqa: E741

    def weight_bits(layer):
        thresholds = streams.threshold(layer.weight.detach().numpy(), layer.width)
        return oracle.encode(thresholds, layer.registers(layer.weight.shape[1], 1))

    pixels = oracle.encode(
        streams.threshold(2 * x.numpy() - 1, encoder.width), encoder.registers(I, 0)
    )
    sums = oracle.products(pixels, weight_bits(first), 0)
    bits = oracle.counters(sums, first.bound)
    totals = oracle.products(bits, weight_bits(second), -1).sum(1)
    return totals / first.length * net[8].gain


@pytest.mark.parametrize("length", [1, 4, 32])
def test_a_net_is_what_its_circuit_computes(length):
    settings_ = Arithmetic(name="stochastic", stream_length=length, counter_bits=5)
    torch.manual_seed(0)
    net = build(Model(hidden=(9,)), Form((3, 5), 4), settings_).eval()
    torch.nn.init.uniform_(net[2].weight, -1, 1)
    torch.nn.init.uniform_(net[6].weight, -1, 1)
    x = torch.rand(5, 15)
    with torch.no_grad():
        assert np.allclose(net(x), simulate(net, x), atol=1e-5)
    assert np.allclose(net(x).detach(), simulate(net, x), atol=1e-5), "with a backward pass to come"


def test_the_gradient_is_an_outer_product_of_single_bits():
    settings_ = Arithmetic(name="stochastic", stream_length=8)
    torch.manual_seed(0)
    net = build(Model(hidden=(9,)), Form((3, 5), 4), settings_).train()
    begin_pass(dice_of(net), Key.of(3), torch.arange(1))
    net(torch.rand(1, 15)).logsumexp(1).sum().backward()
    for layer in (m for m in net if isinstance(m, StochasticLinear)):
        gradient = layer.weight.grad
        scale = gradient.abs().max()
        assert scale > 0
        assert set((gradient / scale).unique().tolist()) <= {-1.0, 0.0, 1.0}
        assert torch.linalg.matrix_rank(gradient) == 1


def test_longer_streams_come_nearer_to_the_real_number():
    """The mean sum of a layer tends to the scalar product."""
    torch.manual_seed(1)
    x = torch.rand(20, 300)
    errors = []
    for length in (4, 64, 1024):
        arithmetic = Arithmetic(name="stochastic", stream_length=length)
        net = build(Model(hidden=()), Form((300, 1), 10), arithmetic)
        torch.nn.init.uniform_(net[2].weight, -1, 1)
        with torch.no_grad():
            exact = x @ net[2].weight.T * net[4].gain
            errors.append(float((net.eval()(x) - exact).std()))
        torch.manual_seed(2)
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_what_streams_cannot_do_is_refused():
    settings_ = Arithmetic(name="stochastic")
    with pytest.raises(ModelError, match="no GroupNorm on streams; leave it out"):
        build(Model(name="convnet", norm="group"), Form((28, 28), 10), settings_)
    layers = settings_.layers()
    padded = [*layers.entrance(), Counter(1.0), *layers.conv2d(1, 1, 3, padding=1)]
    with pytest.raises(ModelError, match="no zero to pad with; use padding = 0"):
        layers.chain(padded)
    with pytest.raises(ModelError, match="begin with pixels"):
        build(Model(name="scatter"), Form((28, 28), 10), settings_)
    with pytest.raises(ModelError, match="make it narrower"):
        build(Model(), Form((200, 200), 10), settings_)
