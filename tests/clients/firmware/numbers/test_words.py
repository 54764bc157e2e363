"""The board's words against privet's own arithmetic; its step against what it promises."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from clients.arithmetic import Arithmetic, projections
from clients.arithmetic.layers import ArithmeticLinear
from clients.arithmetic.rounding import REACH, round_rows, round_rows_at_random
from clients.draws import row_seeds, scramble
from clients.firmware.check import KEY, check
from clients.firmware.compiling import missing
from clients.firmware.contract import agree
from clients.firmware.net import Dense, Words
from clients.firmware.numbers.floats import observed_sensitivity
from clients.firmware.numbers.words import (
    WordsDevice,
    begin,
    project,
    round_gradient,
    round_numbers,
    round_record,
    summed,
)
from clients.firmware.sources import sources

SIZES, NUM = (22, 7, 5, 4), 120
DICE = np.random.default_rng(3)
LAYERS = tuple(
    Dense(
        DICE.normal(0, 0.5 / i**0.5, (o, i)).astype(np.float32),
        DICE.normal(0, 0.1, o).astype(np.float32),
    )
    for i, o in pairwise(SIZES)
)
RECORDS = (
    (DICE.integers(0, 256, (NUM, SIZES[0])) * (DICE.random((NUM, SIZES[0])) < 0.4)).astype(
        np.int16
    ),
    DICE.integers(0, SIZES[-1], NUM).astype(np.uint8),
)
INT8 = Words("fixed", 8, 8, 8, True)
ALL = [
    INT8,
    Words("fixed", 4, 4, 32, False),
    Words("ternary", 2, 8, 8, True),
    Words("ternary", 2, 5, 4, False),
    Words("binary", 1, 8, 8, True),
    Words("binary", 1, 2, 32, False),
]
IDS = [f"{w.projection}-{w.bits}-{w.activation_bits}-{w.gradient_bits}" for w in ALL]


def contract(numbers, **changed):
    plan = {"noise_multiplier": 0.9, "clip": 0.7, "learning_rate": 0.8, "sample_rate": 0.3}
    plan |= {"num_records": NUM, "steps": 100, "epsilon": None, "delta": 1e-5, "scale": 255}
    return agree(LAYERS, **(plan | changed), numbers=numbers)


@pytest.mark.parametrize("numbers", ALL, ids=IDS)
def test_words_of_weights_are_those_of_privet(numbers):
    c, rows = contract(numbers), begin(contract(numbers), LAYERS)[: 22 * 7].reshape(7, 22)
    words, scales = project(numbers, rows, c.rate)
    real = torch.from_numpy(rows.astype(np.float32) * c.rate)
    grouped = real if numbers.channels else real.reshape(1, -1)
    theirs = {
        "fixed": lambda: projections.fixed(grouped, numbers.bits, False, None),
        "ternary": lambda: projections.ternary(grouped, False),
        "binary": lambda: projections.binary(grouped),
    }[numbers.projection]()
    assert np.array_equal(words, theirs.words.reshape(7, 22).numpy())
    assert np.allclose(scales, theirs.scale.numpy()[:, 0], rtol=1e-6, atol=0)
    if numbers.projection == "fixed":
        assert np.array_equal(scales, np.broadcast_to(theirs.scale.numpy()[:, 0], 7))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("low", [0, -255])
def test_words_of_inputs_and_gradients_are_those_of_privet(bits, low):
    """Inputs of a record and hidden units, to the nearest; gradients at random, draw by draw."""
    c = contract(Words("fixed", 8, bits, bits, True))
    x = DICE.integers(low, 256, (60, 784)) * (DICE.random((60, 784)) < 0.3)
    real = x.astype(np.float32) * np.float32(1 / 255)
    for ours, floats in (
        (round_record(c, x), real),
        (round_numbers(c, np.maximum(real, 0)), np.maximum(real, 0)),
    ):
        out, bounds = np.empty_like(floats), np.empty(60, np.float32)
        round_rows(floats, bits, np.float32(REACH[bits]), out, bounds)
        assert np.allclose(ours.bounds, bounds, rtol=1e-6, atol=0)
        theirs = np.rint(out / ours.steps[:, None])
        assert (ours.words != theirs).mean() < 1e-4  # sums of squares are in another order
        assert np.abs(ours.words - theirs).max() <= 1
    d, numbers = DICE.normal(0, 1, (60, 9)).astype(np.float32), np.arange(60) * 7
    word = 0x123456789ABCDEF0
    dice = np.uint64((word - 3 * 0x9E3779B97F4A7C15) % 2**64)
    out = np.empty_like(d)
    round_rows_at_random(d, bits, row_seeds(np.uint64(scramble(np.uint64(word))), numbers), out)
    assert np.array_equal(round_gradient(d, bits, int(dice), 2, numbers), out)


@pytest.mark.parametrize("numbers", ALL, ids=IDS)
def test_one_record_moves_a_sum_by_no_more_than_s(numbers):
    """Twins: with and without each record, over random weights; and nearly by S."""
    c, everyone = contract(numbers), np.arange(NUM)
    device = WordsDevice(c, tuple(Dense(8 * w, b) for w, b in LAYERS), KEY, RECORDS)
    whole = device.gradients(everyone)
    total = summed(whole)
    for i in range(0, NUM, 11):
        apart = total - summed(device.gradients(np.delete(everyone, i)))
        assert sum(int(v) ** 2 for v in apart.tolist()) <= c.sensitivity**2
    assert 0.99 < observed_sensitivity(c, whole) <= 1


def test_a_step_is_that_of_privets_own_layers():
    """Clipped gradients of its `fixed` net, record by record, with gradients left in float."""
    numbers = Words("fixed", 8, 8, 32, True)
    c = contract(numbers)
    device = WordsDevice(c, LAYERS, KEY, RECORDS)
    arithmetic = Arithmetic(name="fixed", gradient_bits=32)
    made = arithmetic.layers()
    parts = [
        layer
        for i, o in pairwise(SIZES)
        for layer in (*made.linear(i, o), *made.activation(nn.ReLU))
    ]
    net = nn.Sequential(*parts[:-1])
    dense = [layer for layer in net if isinstance(layer, ArithmeticLinear)]
    for layer, (w, b) in zip(dense, LAYERS, strict=True):
        layer.weight.data, layer.bias.data = torch.from_numpy(w.copy()), torch.from_numpy(b.copy())
    total = 0.0
    for x, y in zip(*RECORDS, strict=True):
        net.zero_grad()
        z = net(torch.from_numpy(x[None].astype(np.float32) / 255))
        nn.functional.cross_entropy(z, torch.tensor([int(y)])).backward()
        g = torch.cat([p.grad.flatten() for layer in dense for p in layer.parameters()])
        total = total + g * min(1.0, c.clip / float(g.norm()))
    ours = summed(device.gradients(np.arange(NUM))) * c.clip / c.sensitivity
    assert np.linalg.norm(ours - total.numpy()) < 0.02 * np.linalg.norm(total.numpy())


@pytest.mark.skipif(bool(missing()), reason="not verified on the target: privet[firmware]")
@pytest.mark.parametrize("fault", ["", "another S", "dice of the batch"])
def test_the_board_is_the_simulation(fault):
    """And one that rounds by what else is in the batch, or to another S, is not."""
    c = contract(INT8)
    made = sources(replace(c, sensitivity=c.sensitivity - 1) if fault == "another S" else c, LAYERS)
    if fault == "dice of the batch":
        own = "(number * GOLDEN)"
        assert own in made["trained.h"]
        made["trained.h"] = made["trained.h"].replace(
            own, "((number + (uint32_t)weights[0]) * GOLDEN)"
        )
    own = np.zeros(20, np.int64)
    limits = {"steps": 10, "cuts": 0, "targets": ("m4",)}
    (found,) = check(made, c, LAYERS, RECORDS, RECORDS[0][:20], own, **limits)
    assert found.passed == (not fault)
    assert found.answers == 20
