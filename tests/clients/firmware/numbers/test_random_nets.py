"""Nets and batches at random: torch, the definition in numpy, and the C, which has its bits."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles import clipped_sum
from torch import nn

from clients.firmware.budget import count
from clients.firmware.check import check
from clients.firmware.compiling import missing
from clients.firmware.contract import agree
from clients.firmware.net import Dense, Words
from clients.firmware.numbers.layers import LayersDevice
from clients.firmware.plan import plan_of
from clients.firmware.sources import sources

NUM, CLASSES = 12, 3
needs_tools = pytest.mark.skipif(bool(missing()), reason="not verified: privet[firmware]")


def agreed(layers, dice, **kind):
    return agree(
        layers, scale=int(dice.integers(1, 4096)), noise_multiplier=float(dice.uniform(0.6, 2)),
        clip=float(dice.uniform(0.1, 2)), learning_rate=float(dice.uniform(0.05, 0.5)),
        sample_rate=0.4, num_records=NUM, steps=4, epsilon=None, delta=1e-5, **kind,
    )  # fmt: skip


def records_of(dice, inputs, low=-600):
    x = dice.integers(low, 600, (NUM, inputs)) * (dice.random((NUM, inputs)) < dice.uniform(0.3, 1))
    return x.astype(np.int16), dice.integers(0, CLASSES, NUM).astype(np.uint8)


def is_its_simulation(contract, layers, records):
    own = np.zeros(4, np.int64)
    (found,) = check(sources(contract, layers), contract, layers, records, records[0][:4], own,
                     steps=3, cuts=0, targets=("m4",))  # fmt: skip
    return found.passed and found.steps == 3


def layers_at_random(dice, shape):
    """A block: a convolution of any kernel, stride, padding and groups; perhaps a norm, a pool."""
    channels, height, width = shape
    groups = int(dice.choice([g for g in (1, 2, 3) if channels % g == 0]))
    out = groups * int(dice.integers(1, 4))
    kernel = tuple(int(dice.integers(1, min(4, side + 1))) for side in (height, width))
    stride = tuple(int(one) for one in dice.integers(1, 4, 2))
    padding = tuple(int(dice.integers(0, one)) for one in kernel)
    yield nn.Conv2d(channels, out, kernel, stride, padding, groups=groups)
    if dice.random() < 0.5:
        yield nn.GroupNorm(groups, out)
    if dice.random() < 0.7:
        yield nn.ReLU()
    sides = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip((height, width), padding, kernel, stride, strict=True)
    ]
    if min(sides) > 1 and dice.random() < 0.5:
        step = int(dice.integers(1, 3))
        yield (nn.MaxPool2d if dice.random() < 0.5 else nn.AvgPool2d)(2, step)


def net_at_random(seed):
    dice = np.random.default_rng(seed)
    torch.manual_seed(seed)
    shape = (int(dice.integers(1, 4)), int(dice.integers(5, 9)), int(dice.integers(5, 9)))
    net, now = [], shape
    for _ in range(2):
        net += layers_at_random(dice, now)
        now = tuple(nn.Sequential(*net)(torch.zeros(1, *shape)).shape[1:])
    net = nn.Sequential(*net, nn.Flatten(), nn.Linear(int(np.prod(now)), CLASSES))
    plan, layers = plan_of(net, shape)
    return dice, shape, net, layers, agreed(layers, dice, plan=plan)


@pytest.mark.parametrize("seed", range(8))
def test_layers_at_random_answer_and_learn_as_torch_does(seed):
    dice, shape, net, layers, c = net_at_random(seed)
    records = records_of(dice, int(np.prod(shape)))
    device = LayersDevice(c, layers, np.arange(8, dtype=np.uint32), records)
    x = torch.from_numpy(records[0].astype(np.float32) / c.scale).reshape(NUM, *shape)
    total = clipped_sum(net, x, records[1], c.clip)
    ours = device._summed(device.gradients(np.arange(NUM))) * c.clip / c.sensitivity
    assert np.linalg.norm(ours - total) < 0.01 * np.linalg.norm(total) + 1e-4


@needs_tools
@pytest.mark.parametrize("seed", range(3))
def test_layers_at_random_are_their_simulation(seed):
    dice, shape, _, layers, c = net_at_random(seed)
    assert is_its_simulation(c, layers, records_of(dice, int(np.prod(shape))))


@needs_tools
@pytest.mark.parametrize("seed", range(3))
def test_perceptrons_of_words_at_random_are_their_simulation(seed):
    dice = np.random.default_rng(seed)
    sizes = (*(int(one) for one in dice.integers(1, 40, int(dice.integers(1, 4)))), CLASSES)
    layers = tuple(
        Dense(dice.normal(0, 0.5, (o, i)).astype(np.float32), np.zeros(o, np.float32))
        for i, o in pairwise(sizes)
    )
    kind = ("fixed", "ternary", "binary")[seed]
    bits = {"fixed": int(dice.integers(2, 9)), "ternary": 2, "binary": 1}[kind]
    words = Words(
        kind, bits, int(dice.integers(2, 9)), int(dice.choice([2, 5, 8, 32])), dice.random() < 0.5
    )
    c = agreed(layers, dice, numbers=words)
    assert is_its_simulation(c, layers, records_of(dice, sizes[0], low=int(dice.choice([0, -600]))))


@needs_tools
def test_the_parts_of_a_plan_are_of_its_layers():
    """Each layer has its own forward pass; the first passes nothing back."""
    dice, shape, _, layers, c = net_at_random(1)
    records = records_of(dice, int(np.prod(shape)))
    _, parts = count(sources(c, layers), c, records, "m4", 2)
    for phase, first in (("forward", 0), ("backward", 1)):
        places = {part.layer for part in parts if part.phase == phase}
        assert places == {-1, *range(first, c.num_layers)}
