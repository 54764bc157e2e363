"""Nets at random, of all layers that have C: to measure the table on, and to hold it against."""

from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np

from clients.firmware.contract import Contract, agree
from clients.firmware.net import Dense, Records, Words
from clients.firmware.plan import ADD, CONV, MEAN, MOST, NORM, Layer, Plan, Shape

KINDS: dict[str, Words | None] = {
    "float": None,
    "fixed-8": Words("fixed", 8, 8, 8, True),
    "fixed-4": Words("fixed", 4, 4, 4, True),
    "fixed-2": Words("fixed", 2, 4, 4, True),
    "ternary-2": Words("ternary", 2, 8, 8, True),
    "binary-1": Words("binary", 1, 8, 8, True),
}
NUM, MOST_PRODUCTS, MOST_VALUES = 12, 60_000, 6_000
Drawn = tuple[Contract, tuple[Dense, ...], Records]


def perceptron(dice: np.random.Generator, kind: str) -> Drawn:
    """Of one to four layers."""
    hidden = dice.integers(2, 90, int(dice.integers(0, 4))).tolist()
    sizes = (int(dice.integers(6, 300)), *hidden, int(dice.integers(2, 14)))
    layers = tuple(_dense(dice, o, i) for i, o in pairwise(sizes))
    return _agreed(dice, layers, kind, None)


def layers(dice: np.random.Generator, kind: str) -> Drawn:
    """Of some convolutions, norms, pools and sums, and a dense layer at the end."""
    while True:
        plan = _plan(dice)
        products = [one.row * prod(one.outputs) for one in plan]
        if sum(products) <= MOST_PRODUCTS and sum(prod(one.outputs) for one in plan) <= MOST_VALUES:
            break
    weights = tuple(_dense(dice, one.outputs[0], one.row) for one in plan if one.row)
    return _agreed(dice, weights, kind, plan)


NETS = {"perceptron": perceptron, "layers": layers}


def _dense(dice: np.random.Generator, outputs: int, inputs: int) -> Dense:
    weights = dice.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
    return Dense(weights, dice.normal(0, 0.1, outputs).astype(np.float32))


def _agreed(
    dice: np.random.Generator, layers: tuple[Dense, ...], kind: str, plan: Plan | None
) -> Drawn:
    contract = agree(
        layers, scale=255, noise_multiplier=1.5, clip=float(dice.uniform(0.1, 2)),
        learning_rate=0.1, sample_rate=0.4, num_records=NUM, steps=30, epsilon=None, delta=1e-5,
        numbers=KINDS[kind], plan=plan,
    )  # fmt: skip
    shape = (NUM, contract.sizes[0])
    inputs = dice.integers(-500, 500, shape) * (dice.random(shape) < dice.uniform(0.3, 1))
    return contract, layers, (
        inputs.astype(np.int16), dice.integers(0, contract.sizes[-1], NUM).astype(np.uint8)
    )  # fmt: skip


def _plan(dice: np.random.Generator) -> Plan:
    flat = dice.random() < 0.4
    shape: Shape = (int(dice.integers(1, 7)), int(dice.integers(6, 22)), int(dice.integers(6, 22)))
    if flat:
        shape = (shape[0], 1, int(dice.integers(12, 120)))
    plan: list[Layer] = []
    for _ in range(int(dice.integers(2, 6))):
        plan.append(_convolution(dice, len(plan) - 1, plan[-1].outputs if plan else shape))
        if dice.random() < 0.6:
            plan.append(_norm(dice, len(plan) - 1, plan[-1].outputs))
        if dice.random() < 0.3:  # a sum of two of the same shape
            one, other = len(plan) - 1, len(plan)
            arm = Layer(CONV, one, plan[one].outputs, plan[one].outputs)
            plan.append(arm)
            plan.append(Layer(ADD, other, arm.outputs, arm.outputs, other=one))
        if dice.random() < 0.6:
            plan += _pool(dice, len(plan) - 1, plan[-1].outputs)
    rectified = [_rectified(dice, layer) for layer in plan]
    inputs = (prod(plan[-1].outputs), 1, 1)
    return (*rectified, Layer(CONV, len(plan) - 1, inputs, (int(dice.integers(2, 14)), 1, 1)))


def _rectified(dice: np.random.Generator, layer: Layer) -> Layer:
    return replace(layer, rectified=bool(dice.random() < 0.5))


def _convolution(dice: np.random.Generator, source: int, inputs: Shape) -> Layer:
    c, height, width = inputs
    kind = dice.choice(["any", "point", "depthwise", "grouped"])
    groups = {"depthwise": c, "grouped": 2 - c % 2}.get(kind, 1)
    most = min(9, width) if height == 1 else min(6, height, width)
    sides = (1, 1) if kind == "point" else tuple(int(one) for one in dice.integers(1, most + 1, 2))
    kernel = (min(height, sides[0]), sides[1])
    stride = tuple(int(one) for one in dice.choice([1, 1, 1, 2, 3], 2))
    if height == 1:
        stride = (1, stride[1])
    padding = tuple(int(dice.integers(0, k // 2 + 1)) for k in kernel)
    outputs = groups * int(dice.integers(1, 3 if kind == "depthwise" else 14))
    after = [
        (n + 2 * p - k) // s + 1
        for n, k, s, p in zip(inputs[1:], kernel, stride, padding, strict=True)
    ]
    return Layer(
        CONV, source, inputs, (outputs, after[0], after[1]), kernel, (stride[0], stride[1]),
        (padding[0], padding[1]), groups,
    )  # fmt: skip


def _norm(dice: np.random.Generator, source: int, shape: Shape) -> Layer:
    groups = int(dice.choice([one for one in range(1, shape[0] + 1) if shape[0] % one == 0]))
    return Layer(NORM, source, shape, shape, groups=groups, eps=1e-5)


def _pool(dice: np.random.Generator, source: int, shape: Shape) -> list[Layer]:
    c, height, width = shape
    kernel = (int(dice.integers(1, min(height, 3) + 1)), int(dice.integers(1, min(width, 5) + 1)))
    if dice.random() < 0.3:
        kernel = (height, width)
    stride = (int(dice.integers(1, 3)), int(dice.integers(1, 4)))
    sides = [(n - k) // s + 1 for n, k, s in zip(shape[1:], kernel, stride, strict=True)]
    kind = MOST if dice.random() < 0.5 else MEAN
    return [Layer(kind, source, shape, (c, sides[0], sides[1]), kernel, stride)]
