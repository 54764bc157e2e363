"""Does a private step fit into a chip? Bytes needed, bytes there, and what would fit."""

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import NamedTuple

from clients.firmware.net import Dense, Words
from clients.firmware.plan import Plan
from privacy.errors import ModelError

FIXED_RAM = 1024  # streams, keys, chains and a record's last words
STACK = 1024  # measured: 520
CODE = 24 << 10  # and tables; measured: 16 to 18 KiB with zig
RECORD = 32


Narrower = Callable[[Callable[[Plan], bool]], str]


class Room(NamedTuple):
    """Bytes: RAM and flash of a chip, or what a step needs of them."""

    ram: int
    flash: int


def needed(sizes: tuple[int, ...], steps: int, numbers: Words | None = None) -> Room:
    """What a private step needs: weights and sums of 4 bytes, inputs, units, stack; the ledger.

    Args:
        sizes: inputs, hidden units, classes.
        numbers: of an arithmetic of words: weights of 4 bytes, and a byte for the word of each.
    """
    weights = sum(_weights(sizes))
    ram = 8 * weights + 6 * sizes[0] + 14 * sum(sizes[1:])
    if numbers is not None:
        padded = sum(-(-i // 4) * 4 * o for i, o in pairwise(sizes))
        ram = 4 * weights + padded + sum(2 * i + 6 for i in sizes[:-1]) + 24 * sum(sizes[1:])
    ram += FIXED_RAM + STACK
    return Room(ram, 4 * weights + CODE + 2 * RECORD * (steps + 1))


def needed_plan(plan: Plan, steps: int) -> Room:
    """As `needed`, of layers: weights and sums, what each layer gives, and its gradients."""
    weights = sum(layer.num_weights for layer in plan)
    record, values = prod(plan[0].inputs), sum(prod(layer.outputs) for layer in plan)
    ram = 8 * weights + 6 * record + 8 * values + FIXED_RAM + STACK
    return Room(ram, 4 * weights + CODE + 2 * RECORD * (steps + 1))


def require_plan_fit(plan: Plan, steps: int, chip: str, there: Room, narrower: Narrower) -> None:
    """As `require_fit`.

    Args:
        narrower: what to train instead, of plans that a test takes.

    Raises:
        ModelError: more than the chip has: names the layer that takes most, and what fits.
    """

    def fits(one: Plan) -> bool:
        need = needed_plan(one, steps)
        return need.ram <= there.ram and need.flash <= there.flash

    if fits(plan):
        return
    need = needed_plan(plan, steps)
    kind, wants, has = ("RAM", need.ram, there.ram)
    if need.ram <= there.ram:
        kind, wants, has = ("flash", need.flash, there.flash)
    most = max(plan, key=lambda layer: layer.num_weights + prod(layer.outputs))
    raise ModelError(
        f"--chip {chip}: layer {plan.index(most) + 1}, {most.told()}: the private step needs "
        f"{wants:,} bytes of {kind}, {has:,} are there; {narrower(fits)}"
    )


def require_fit(
    layers: tuple[Dense, ...], steps: int, chip: str, there: Room, numbers: Words | None = None
) -> Room:
    """The room that a net needs.

    Raises:
        ModelError: more than the chip has: names the largest layer and hidden widths that fit.
    """
    sizes = (layers[0].weights.shape[1], *(len(layer.biases) for layer in layers))
    need = needed(sizes, steps, numbers)
    if need.ram <= there.ram and need.flash <= there.flash:
        return need
    weights = _weights(sizes)
    largest = weights.index(max(weights))
    kind, wants, has = ("RAM", need.ram, there.ram)
    if need.ram <= there.ram:
        kind, wants, has = ("flash", need.flash, there.flash)
    remedy = _remedy(sizes, steps, there, numbers)
    raise ModelError(
        f"--chip {chip}: layer {largest + 1}, {sizes[largest]} to {sizes[largest + 1]}: the "
        f"private step needs {wants:,} bytes of {kind}, {has:,} are there; {remedy}"
    )


def _remedy(sizes: tuple[int, ...], steps: int, there: Room, numbers: Words | None) -> str:
    hidden = sizes[1:-1]
    for share in range(len(hidden) and max(hidden), 0, -1):
        less = tuple(max(1, h * share // max(hidden)) for h in hidden)
        need = needed((sizes[0], *less, sizes[-1]), steps, numbers)
        if need.ram <= there.ram and need.flash <= there.flash:
            return f"train [model] hidden = {list(less)}"
    return "no hidden width fits: take a larger chip, or [model] pool"


def _weights(sizes: tuple[int, ...]) -> list[int]:
    return [(i + 1) * o for i, o in pairwise(sizes)]
