"""Does a private step fit into a chip? Bytes needed, bytes there, and what would fit."""

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import NamedTuple

from clients.firmware.net import Dense, Words
from clients.firmware.plan import CONV, Layer, Plan
from privacy.errors import ModelError

FIXED_RAM = 1024  # streams, keys, chains and a record's last words
STACK = 1024  # measured: 520
CODE = 24 << 10  # and tables; measured: 16 to 18 KiB with zig
RECURRENT = 10 << 10  # more code, of GRU; measured: 8 KiB with zig
ANSWERING = 10 << 10  # code; measured: 4 to 8 KiB with zig
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
        numbers: of an arithmetic of words: weights of 4 bytes, and the word of each, packed.
    """
    weights = sum(_weights(sizes))
    ram = 8 * weights + 6 * sizes[0] + 14 * sum(sizes[1:])
    if numbers is not None:
        words = 4 * sum(num_words(i, o, numbers) for i, o in pairwise(sizes))
        ram = 4 * weights + words + sum(2 * i + 6 for i in sizes[:-1]) + 24 * sum(sizes[1:])
    ram += FIXED_RAM + STACK
    return Room(ram, 4 * weights + CODE + 2 * RECORD * (steps + 1))


def needed_plan(plan: Plan, steps: int, numbers: Words | None = None) -> Room:
    """As `needed`, of layers: weights and sums, what each layer gives, and its gradients.

    Of words: weights, their words, scales and biases; words of one layer's inputs, of one output.
    """
    weights = sum(layer.num_weights for layer in plan)
    record, values = prod(plan[0].inputs), sum(prod(layer.outputs) for layer in plan)
    ram = 8 * weights + 6 * record + 8 * values + FIXED_RAM + STACK
    ram += 4 * sum(layer.num_gates for layer in plan)
    if numbers is not None:
        words = sum(num_layer_words(layer, numbers) for layer in plan)
        ram += 4 * (words - weights) + 8 * len(plan)
        ram += 8 * sum(layer.outputs[0] for layer in plan if layer.row)
        convolutions = [layer for layer in plan if layer.kind == CONV]
        ram += max(2 * prod(layer.inputs) for layer in convolutions)
        ram += max(layer.row for layer in convolutions)
    code = CODE + (RECURRENT if any(layer.num_gates for layer in plan) else 0)
    return Room(ram, 4 * weights + code + 2 * RECORD * (steps + 1))


def needed_to_answer(sizes: tuple[int, ...], plan: Plan | None, numbers: Words | None) -> Room:
    """What a board needs that learns nothing: its weights lie in flash alone, of words packed."""
    if plan is None:
        trained, values = list(pairwise(sizes)), 4 * sum(sizes) + 2 * sizes[0]
        words = sum(num_words(i, o, numbers) for i, o in trained) if numbers else 0
    else:
        trained = [(one.row, one.outputs[0]) for one in plan if one.row]
        values = 6 * prod(plan[0].inputs) + 4 * sum(prod(one.outputs) for one in plan)
        words = sum(num_layer_words(one, numbers) for one in plan)
        if numbers is not None:
            reads = [one for one in plan if one.kind == CONV]
            values += max(2 * prod(one.inputs) for one in reads) + max(one.row for one in reads)
    weights = 4 * sum((i + 1) * o for i, o in trained)
    if numbers is not None:
        weights = 4 * words + 8 * sum(o for _, o in trained)
    return Room(values + STACK, weights + ANSWERING)


def needed_by(
    layers: tuple[Dense, ...],
    plan: Plan | None,
    steps: int,
    numbers: Words | None,
    answers: bool = False,
) -> Room:
    """What a net needs, of either kind, to answer alone or to learn."""
    sizes = (layers[0].weights.shape[1], *(len(layer.biases) for layer in layers))
    if answers:
        return needed_to_answer(sizes, plan, numbers)
    return needed(sizes, steps, numbers) if plan is None else needed_plan(plan, steps, numbers)


def require_answers_fit(
    layers: tuple[Dense, ...], plan: Plan | None, numbers: Words | None, chip: str, there: Room
) -> None:
    """Raises ModelError: answers alone need more than the chip has."""
    sizes = (layers[0].weights.shape[1], *(len(layer.biases) for layer in layers))
    need = needed_to_answer(sizes, plan, numbers)
    for kind, wants, has in (("RAM", need.ram, there.ram), ("flash", need.flash, there.flash)):
        if wants > has:
            raise ModelError(
                f"--chip {chip}: answers alone need {wants:,} bytes of {kind}, {has:,} are there; "
                "take a larger chip, or train a narrower [model]"
            )


def require_plan_fit(
    plan: Plan,
    steps: int,
    chip: str,
    there: Room,
    narrower: Narrower,
    numbers: Words | None = None,
) -> None:
    """As `require_fit`.

    Args:
        narrower: what to train instead, of plans that a test takes.

    Raises:
        ModelError: more than the chip has: names the layer that takes most, and what fits.
    """

    def fits(one: Plan) -> bool:
        need = needed_plan(one, steps, numbers)
        return need.ram <= there.ram and need.flash <= there.flash

    if fits(plan):
        return
    need = needed_plan(plan, steps, numbers)
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


def quads(inputs: int, numbers: Words) -> int:
    """Of a layer's inputs, by four: filled up, as far as the C goes through them at a time."""
    at_a_time = max(2, 8 // numbers.field_bits)
    return -(-inputs // (4 * at_a_time)) * at_a_time


def num_words(inputs: int, outputs: int, numbers: Words) -> int:
    """Of 32 bits, for the packed words of a layer's weights: of four rows at a time."""
    return quads(inputs, numbers) * numbers.field_bits // 8 * (-(-outputs // 4) * 4)


def num_layer_words(layer: Layer, numbers: Words | None) -> int:
    """Of 32 bits, for the packed words of a plan's layer: without gaps."""
    if numbers is None or layer.kind != CONV:
        return 0
    return -(-layer.row * layer.outputs[0] * numbers.field_bits // 32)


def _weights(sizes: tuple[int, ...]) -> list[int]:
    return [(i + 1) * o for i, o in pairwise(sizes)]
