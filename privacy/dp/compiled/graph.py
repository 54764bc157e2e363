"""The plan of a net as it grows: what each operation reads and writes, and who needs a gradient."""

from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from privacy.dp.compiled.gradients import keep, pass_on, place
from privacy.dp.compiled.operation import Lowering, Operation, Order, Orders, Shape
from privacy.dp.kernels import plan
from privacy.dp.kernels.plan import (
    ADD,
    ADD_TO,
    CONV,
    DENSE,
    DEPTHWISE,
    IN,
    IN_SIZE,
    KIND,
    LAST_CONV,
    NORM,
    OTHER,
    OUT,
    OUT_SIZE,
    PASS_ON,
    PASS_ON_OTHER,
    RELU,
    TURN,
)

# Layers that are the sum of two others on the same input, by exact type: which two.
SUMS: dict[type[nn.Module], Callable[[nn.Module], tuple[nn.Module, nn.Module]]] = {}

MADE_ON_THE_WAY = (CONV, LAST_CONV, DEPTHWISE, NORM)  # whose weights' gradients are
WEIGHED = (DENSE, *MADE_ON_THE_WAY)


class Unknown(Exception):
    """The kernels cannot do it; says what they cannot."""


class Value(NamedTuple):
    """What stands in a buffer.

    Attributes:
        at: where, in numbers of a record.
        order: for each number, which it is of torch's; None: they lie as in torch.
        trained: it depends on weights.
        kind: of the operation that wrote it; None: it is the net's input.
    """

    at: int
    shape: Shape
    order: Order | None = None
    trained: bool = False
    kind: int | None = None


class Sizes(NamedTuple):
    """Numbers a record needs in each buffer.

    Attributes:
        made: all weights; 0: one record's gradient is made at a time.
        scratch: for all records.
        passed: in `scratch`, behind.
    """

    values: int
    grads: int
    notes: int
    made: int
    scratch: int
    passed: int


class Graph:
    """A plan that grows layer by layer.

    Attributes:
        parameters: of the layers so far, in the order in which their weights lie.
    """

    def __init__(self, lowerings: Mapping[type[nn.Module], Lowering], inputs: Shape) -> None:
        self._lowerings = lowerings
        self._rows: list[plan.Plan] = []
        self.parameters: list[nn.Parameter] = []
        self._orders: list[Orders] = []
        self._values, self._num_weights = prod(inputs), 0
        self._notes, self._scratch = 0, 0
        self._held: set[int] = set()  # buffers that are read again

    def lower(self, layer: nn.Module, x: Value) -> Value:
        """Add the operations of a layer on x.

        Raises:
            Unknown: the kernels cannot do it.
        """
        if type(layer) is nn.Sequential:
            for part in layer:
                x = self.lower(part, x)
            return x
        if type(layer) in SUMS:
            self._held.add(x.at)
            body, shortcut = (self.lower(part, x) for part in SUMS[type(layer)](layer))
            return self._sum(body, shortcut)
        lower = self._lowerings.get(type(layer))
        operations = lower(layer, x.shape) if lower else None
        own = list(layer.parameters())
        if operations is None:
            raise Unknown(f"{_told(layer)} has no kernel for records of {list(x.shape)}")
        if not all(_is_plain(p) for p in own):
            raise Unknown(f"{_told(layer)} is frozen, or has other weights than float32")
        for operation in operations:
            x = self._add(operation, x, own)
        self.parameters += own
        return x

    def finish(self) -> tuple[plan.Plan, Sizes]:
        """The whole plan, and the sizes of the buffers."""
        table = np.array(self._rows)
        pass_on(table)
        apart = bool(np.isin(table[:, KIND], MADE_ON_THE_WAY).any())
        num_grads = place(table) if apart else keep(table, self._values)
        passed = int(table[table[:, PASS_ON] == ADD_TO, IN_SIZE].max(initial=0))
        made, scratch = self._num_weights * apart, self._num_weights + self._scratch
        sizes = (self._values, num_grads, self._notes, made, scratch, passed)
        return table, Sizes(*sizes)

    def orders(self) -> Orders | None:
        """Of all weights; None: they lie as torch has them."""
        at_torch = np.arange(self._num_weights)
        forward, backward = (
            np.concatenate([o[way] for o in self._orders]).astype(np.int64) for way in (0, 1)
        )
        same = np.array_equal(forward, at_torch) and np.array_equal(backward, at_torch)
        return None if same else Orders(forward, backward)

    def _sum(self, body: Value, shortcut: Value) -> Value:
        if body.shape != shortcut.shape:
            raise Unknown(f"a sum of {list(body.shape)} and {list(shortcut.shape)} has no kernel")
        if not _same(body.order, shortcut.order):
            body, shortcut = (self._turned(x, x.shape[0]) for x in (body, shortcut))
        numbers = {OTHER: shortcut.at, PASS_ON_OTHER: int(shortcut.trained)}
        out = self._add(Operation(ADD, body.shape, numbers), body, [])
        return out._replace(trained=body.trained or shortcut.trained)

    def _turned(self, x: Value, channels: int) -> Value:
        """x as an image whose channels lie last."""
        order = _last(channels, x.shape)
        if _same(x.order, order):
            return x
        if x.order is not None:
            raise Unknown("an image that is cut anew behind a convolution has no kernel")
        out = self._add(Operation(TURN, x.shape, {plan.CHANNELS: channels}), x, [])
        return out._replace(order=order)

    def _add(self, operation: Operation, x: Value, own: list[nn.Parameter]) -> Value:
        kind, out, numbers, aux_size, scratch, orders, last = operation
        if kind is None:
            return x._replace(shape=out)
        if last:
            x = self._turned(x, last[0])
        row = np.zeros(plan.NUM_COLUMNS, np.int64)
        row[KIND], row[PASS_ON] = kind, x.trained
        row[IN], row[IN_SIZE] = x.at, prod(x.shape)
        row[OUT], row[OUT_SIZE] = self._values, prod(out)
        for column, number in (numbers or {}).items():
            row[column] = number
        # A convolution's, a sum's or an image whose channels lie last: as good as a ReLU's output.
        fresh = x.kind is not None and (x.kind == CONV or x.kind >= TURN)
        in_place = kind == RELU and fresh and x.at not in self._held
        if in_place:
            row[OUT] = x.at
        else:
            self._values += prod(out)
        own = own if kind in WEIGHED else []
        if own:
            row[plan.WEIGHT] = self._num_weights
            self._weigh(row, own, orders, x.order)
        elif kind == NORM:
            row[[plan.WEIGHT, plan.BIAS]] = -1
        row[plan.AUX], self._notes = self._notes, self._notes + aux_size
        self._scratch = max(self._scratch, scratch, _most_scratch(row))
        self._rows.append(row)
        order = x.order
        if kind == DENSE:
            order = None
        elif last:
            order = _last(last[1], out)
        return Value(int(row[OUT]), out, order, bool(x.trained or own), kind)

    def _weigh(
        self, row: plan.Plan, own: list[nn.Parameter], orders: Orders | None, order: Order | None
    ) -> None:
        """Place an operation's weights."""
        num = sum(p.numel() for p in own)
        weight = np.arange(own[0].numel())
        if row[KIND] == DENSE and order is not None:
            weight = weight.reshape(-1, len(order))[:, order].ravel()
        placed = orders or Orders(weight, weight)
        bias = np.arange(own[0].numel(), num)
        self._orders.append(
            Orders(*(self._num_weights + np.concatenate([part, bias]) for part in placed))
        )
        row[plan.NUM_WEIGHTS] = num
        row[plan.BIAS] = self._num_weights + own[0].numel() if len(own) == 2 else -1
        self._num_weights += num


def _last(channels: int, shape: Shape) -> Order | None:
    """The order of an image whose channels lie last."""
    size = prod(shape)
    return None if channels in (1, size) else np.arange(size).reshape(channels, -1).T.ravel()


def _same(a: Order | None, b: Order | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)


def _most_scratch(row: plan.Plan) -> int:
    """Numbers behind the gradient that operations of any layout may want."""
    columns = (plan.CHANNELS, plan.KERNEL_H, plan.KERNEL_W, plan.OUT_H, plan.OUT_W)
    return int(row[OUT_SIZE]) + int(row[list(columns)].prod())


def _is_plain(p: nn.Parameter) -> bool:
    return p.dtype == torch.float32 and p.device.type == "cpu" and p.requires_grad


def _told(layer: nn.Module) -> str:
    """In a line."""
    return type(layer).__name__ if list(layer.children()) else str(layer)
