"""Compressed updates: unbiased, as small as they claim, refused when malformed, used in a run."""

import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.compression import Compression, size_bytes
from privacy.cipher import Key
from privacy.errors import SettingsError
from server.engines.launch import launch
from server.experiment.loading import load_experiment

BITS = [8, 4, 2, 1]


def weights(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        "a.weight": rng.normal(0, scale, (7, 40)).astype(np.float32),
        "a.bias": rng.normal(0, scale, 7).astype(np.float32),
        "count": np.array(seed % 5, np.int64),
    }


def received(compression, before, after, seed):
    sent = compression.pack(before, after, Key.of(seed))
    return {name: a.numpy() for name, a in compression.unpack(sent, before).items()}, sent


@settings(max_examples=25, deadline=None)
@given(bits=st.sampled_from(BITS), seed=st.integers(0, 10**6), block=st.sampled_from([8, 50, 256]))
def test_each_number_goes_to_one_of_its_two_neighbours(bits, seed, block):
    before, after = weights(seed), weights(seed + 1)
    got, sent = received(Compression(bits=bits, block=block), before, after, seed)
    update = np.concatenate([(after[n] - before[n]).ravel() for n in ("a.bias", "a.weight")])
    error = np.concatenate([(got[n] - after[n]).ravel() for n in ("a.bias", "a.weight")])
    for start in range(0, len(update), block):
        some = slice(start, start + block)
        step = 2 * np.abs(update[some]).max() / ((1 << bits) - 1)
        assert np.abs(error[some]).max() <= step * 1.0001 + 1e-5
    assert got["count"] == after["count"]
    num = 7 * 41
    assert size_bytes(sent) == math.ceil(num * bits / 8) + 4 * math.ceil(num / block) + 8


def test_the_order_in_which_a_device_holds_its_weights_is_its_own():
    before, after = weights(0), weights(1)
    turned = [dict(reversed(some.items())) for some in (before, after)]
    sent = Compression(bits=8).pack(*turned, Key.of(0))
    got = Compression(bits=8).unpack(sent, before)
    assert list(got) == list(before)
    for name, array in before.items():
        error = np.abs(got[name].numpy() - after[name]).max()
        assert error <= 0.05 * np.ptp(after[name] - array)  # what is counted is sent as it is


@pytest.mark.parametrize("bits", BITS)
def test_the_mean_of_many_is_the_update(bits):
    before, after = weights(0), weights(1)
    compression, num = Compression(bits=bits, block=64), 2000
    total = sum(
        received(compression, before, after, seed)[0]["a.weight"].astype(float)
        for seed in range(num)
    )
    step = 2 * np.abs(after["a.weight"] - before["a.weight"]).max() / ((1 << bits) - 1)
    assert np.abs(total / num - after["a.weight"]).max() <= 5 * step / 2 / math.sqrt(num) + 1e-5


def test_an_update_of_nothing_is_nothing():
    before = weights(3)
    got, _ = received(Compression(bits=1), before, before, 0)
    assert all((got[name] == before[name]).all() for name in before)


def test_32_bits_are_the_weights_themselves():
    after = weights(4)
    got, sent = received(Compression(), weights(3), after, 0)
    assert all((got[name] == after[name]).all() for name in after)
    assert size_bytes(sent) == 7 * 41 * 4 + 8


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sent: sent.pop("scales"),
        lambda sent: sent.__setitem__("codes", Array(np.zeros(9, np.uint8))),
        lambda sent: sent.__setitem__("codes", Array(np.zeros(10**6, np.uint8))),
        lambda sent: sent.__setitem__("scales", Array(np.zeros(2, np.float64))),
    ],
)
def test_what_was_not_packed_is_refused(spoil):
    compression, before = Compression(bits=4), weights(0)
    sent = ArrayRecord(dict(compression.pack(before, weights(1), Key.of(0))))
    spoil(sent)
    with pytest.raises(ValueError, match=r"codes|scales"):
        compression.unpack(sent, before)


def test_a_run_counts_the_bytes_that_were_sent(runs):
    """And keeps what the server made of them, in the arrays of the model."""
    sizes = {}
    for bits in (32, 4):
        experiment = load_experiment(
            "tiny", [f"compression.bits={bits}", "federation.rounds=2", "record.updates=true"]
        )
        run = launch(experiment, runs, f"bits-{bits}")
        (first, _) = run.rounds
        sizes[bits] = first.clients[0].upload_bytes
        assert run.update(1, 0).keys() == run.weights(0).keys()
    num = 64 * 32 + 32 + 32 * 10 + 10
    assert sizes == {32: 4 * num, 4: num // 2 + 4 * math.ceil(num / 256)}
    first = launch(load_experiment("tiny", ["compression.bits=4"]), runs, "again-1")
    second = launch(load_experiment("tiny", ["compression.bits=4"]), runs, "again-2")
    for name, w in first.weights(5).items():
        assert (w == second.weights(5)[name]).all()


def test_other_widths_are_refused():
    with pytest.raises(SettingsError, match=r"\[compression\] bits = 3"):
        load_experiment("tiny", ["compression.bits=3"])
