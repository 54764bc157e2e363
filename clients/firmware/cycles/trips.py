"""How often each loop of our C runs in a private step, of a record and of a step.

Names of counts are those of what is gone through: in a product, `fours` and `ones` are the elements
that its loop takes four at a time, and one by one. What depends on how words are packed has the
kind of words before its name. The loops are those of c/; one that is changed
there is changed here, and the table measured anew (`clients.firmware.cycles.measure`).
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import ceil, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Rows, rows_of
from clients.firmware.fitting import num_layer_words, num_words, quads
from clients.firmware.net import Words
from clients.firmware.plan import ADD, CONV, MEAN, MOST, NORM, Layer, Plan

Counts = dict[str, float]
Row = NDArray[np.int64]


class Trips(NamedTuple):
    """What a part runs.

    Attributes:
        phase, layer: as of `clients.firmware.counting.Where`.
        kernel: of the table.
        counts: how often each of its loops runs, of a record; of a step if `once`.
    """

    phase: str
    layer: int
    kernel: str
    counts: Counts
    once: bool = False


class Kernels(NamedTuple):
    """Of a net, what its loops are made of.

    Attributes:
        sizes: inputs, hidden units, classes; of a plan the first and the last are enough.
        plan: the layers of what is no perceptron. `numbers`: words; None is float32.
    """

    sizes: tuple[int, ...]
    plan: Plan | None
    numbers: Words | None

    @property
    def rows(self) -> tuple[Rows, ...]:
        """Of the layers that have weights."""
        return rows_of(self.sizes, self.plan)

    @property
    def num_layers(self) -> int:
        """Those of the C's table."""
        return len(self.sizes) - 1 if self.plan is None else len(self.plan)


def kind_of(numbers: Words | None) -> str:
    """Of the numbers of a net: in its names."""
    return "float" if numbers is None else f"{numbers.projection}-{numbers.field_bits}"


def trips(net: Kernels, records: int, drawn_from: int) -> tuple[Trips, ...]:
    """Of each phase and layer.

    Args:
        records: of a step. `drawn_from`: records that it draws them from.
    """
    of_net = _of_perceptron if net.plan is None else _of_plan
    return (*of_net(net), *_of_step(net, records, drawn_from))


# ---- a step


def _of_step(c: Kernels, records: int, drawn_from: int) -> Iterator[Trips]:
    yield Trips("ledger", -1, "ledger", {"step": 1}, once=True)
    drawn: Counts = {"step": 1, "candidates": drawn_from, "records": records}
    yield Trips("sample", -1, "sample", drawn, once=True)
    rows, weights = len(c.rows), sum((one.row + 1) * one.outputs for one in c.rows)
    yield Trips("noise", -1, "noise", {"step": 1, "layers": rows, "weights": weights}, True)
    if c.numbers is None:
        return
    words = [one for one in c.rows if one.has_words]
    if c.plan is None:
        packed = sum(num_words(i, o, c.numbers) for i, o in pairwise(c.sizes))
    else:
        packed = sum(num_layer_words(one, c.numbers) for one in c.plan)
    counts: Counts = {
        "layers": rows,
        "outputs": sum(one.outputs for one in c.rows),
        "rows": sum(one.outputs for one in words),
        f"{kind_of(c.numbers)} weights": sum(one.outputs * one.row for one in words),
        "words": packed,
    }
    yield Trips("project", -1, "project", counts, once=True)


# ---- a perceptron


def _of_perceptron(c: Kernels) -> Iterator[Trips]:
    layers, words, kind = list(pairwise(c.sizes)), c.numbers, kind_of(c.numbers)
    last, rounded = len(layers) - 1, words is not None and words.gradient_bits < 32
    first = quads(c.sizes[0], words) if words else 0
    yield Trips(
        "forward", -1, "forward record", {"record": 1, "inputs": c.sizes[0], "quads": first}
    )
    top: Counts = {"record": 1, "outputs": c.sizes[-1], "rounded": rounded * c.sizes[-1]}
    yield Trips("backward", -1, "backward record", top)
    norms = 0 if words else sum(c.sizes[:-1])
    clip: Counts = {"layers": len(layers), "inputs": norms, "outputs": sum(c.sizes[1:])}
    yield Trips("clip", -1, "clip record", clip)
    for place, (inputs, outputs) in enumerate(layers):
        hidden = outputs if place < last else 0
        if words is None:
            read = _product(outputs, inputs) | {"hidden": hidden}
            back: Counts = {"inputs": inputs, "products": inputs * outputs}
        else:
            each, fours = quads(inputs, words), 4 * ceil(outputs / 4)
            read = {
                "layer": 1, "blocks": fours, f"{kind} quads": fours * each, "outputs": outputs,
                "hidden": hidden, "inputs": inputs if place else 0,
            }  # fmt: skip
            if words.projection == "binary":
                read["totals"] = each
            of_below = rounded * inputs  # of the layer below, while this one is named still
            back = {"quads": each, f"{kind} products": each * outputs, "rounded": of_below}
        yield Trips("forward", place, "forward dense", read)
        if place:
            yield Trips("backward", place, "backward dense", {"layer": 1, **back})
        yield Trips("accumulate", place, "accumulate dense", _product(outputs, inputs))


def _product(times: int, num: int) -> Counts:
    """So many sums of `num` products."""
    return {"layer": 1, "sums": times, "fours": times * (num // 4), "ones": times * (num % 4)}


# ---- any other net


def _of_plan(c: Kernels) -> Iterator[Trips]:
    assert c.plan is not None
    words = c.numbers
    values = sum(prod(one.outputs) for one in c.plan)
    yield Trips("forward", -1, "forward record", {"record": 1, "inputs": prod(c.plan[0].inputs)})
    top: Counts = {"record": 1, "values": values, "outputs": c.plan[-1].outputs[0]}
    yield Trips("backward", -1, "backward record", top)
    for place, layer in enumerate(c.plan):
        rectified = layer.rectified * prod(layer.outputs)
        about = {"layer": 1, "rectified": rectified}
        read = _packed(about | FORWARD[layer.kind](layer), words)
        yield Trips("forward", place, f"forward {layer.kind}", read)
        back: Counts = dict(about)
        if layer.kind == CONV and words is not None and words.gradient_bits < 32:
            back["rounded"] = prod(layer.outputs)
        if layer.kind == ADD:
            back["terms"] = sum(one >= 0 for one in (layer.source, layer.other)) * prod(
                layer.outputs
            )
        elif layer.source >= 0:
            back |= _packed(BACKWARD[layer.kind](layer, words is not None), words)
        if layer.kind == ADD or layer.source >= 0 or "rounded" in back or rectified:
            yield Trips("backward", place, f"backward {layer.kind}", back)
        if layer.kind in CLIP:
            yield Trips("clip", place, f"clip {layer.kind}", {"layer": 1} | CLIP[layer.kind](layer))


def _packed(counts: Counts, words: Words | None) -> Counts:
    """With the weights that are unpacked, by how they are packed; floats are not, nor rounded."""
    weights = counts.pop("weights", 0)
    if words is None:
        counts.pop("inputs", 0)
    elif weights:
        counts[f"{kind_of(words)} weights"] = weights
    return counts


def _is_point(layer: Layer) -> bool:
    return layer.kernel == (1, 1) and layer.padding == (0, 0)


def _elements(layer: Layer, side: int) -> Row:
    """Of a kernel, those that read what is there, at each output along a side."""
    corner = np.arange(layer.outputs[1 + side]) * layer.stride[side]
    first = np.maximum(layer.padding[side] - corner, 0)
    end = np.minimum(layer.inputs[1 + side] + layer.padding[side] - corner, layer.kernel[side])
    return np.maximum(end - first, 0)


def _readers(layer: Layer, side: int) -> Row:
    """Outputs that read an input, at each input along a side."""
    at = np.arange(layer.inputs[1 + side]) + layer.padding[side]
    first = np.maximum((at - layer.kernel[side]) // layer.stride[side] + 1, 0)
    end = np.minimum(at // layer.stride[side] + 1, layer.outputs[1 + side])
    return np.maximum(end - first, 0)


def _outputs(layer: Layer, side: int) -> Row:
    """Outputs where an element of the kernel reads what is there, at each element along a side."""
    k, stride = np.arange(layer.kernel[side]), layer.stride[side]
    first = np.maximum(-((k - layer.padding[side]) // stride), 0)
    end = (layer.inputs[1 + side] - 1 + layer.padding[side] - k) // stride + 1
    return np.maximum(np.minimum(end, layer.outputs[1 + side]) - first, 0)


def _along(rows: Row, columns: Row, times: int) -> Counts:
    """Products of a run of columns, each row of each pair of sides; so many times."""
    by = times * int(rows.sum())
    return {
        "runs": by * len(columns),
        "fours": by * int((columns // 4).sum()),
        "ones": by * int((columns % 4).sum()),
    }


def _forward_conv(layer: Layer) -> Counts:
    (o, height, width), each = layer.outputs, layer.inputs[0] // layer.groups
    area = height * width
    found: Counts = {
        "outputs": o, "output rows": o * height, "places": o * area, "weights": o * layer.row,
        "inputs": prod(layer.inputs),
    }  # fmt: skip
    if _is_point(layer):
        points = {"fours": o * area * (each // 4), "ones": o * area * (each % 4)}
        return found | {"points": o * area} | {f"point {k}": v for k, v in points.items()}
    found["planes"] = o * area * each
    return found | _along(_elements(layer, 0), _elements(layer, 1), o * each)


def _backward_conv(layer: Layer, is_words: bool) -> Counts:
    c, height, width = layer.inputs
    o, each, area = layer.outputs[0], c // layer.groups, height * width
    rows, columns = _readers(layer, 0), _readers(layer, 1)
    read = int((rows > 0).sum() * (columns > 0).sum())  # places that some output reads
    if is_words:
        found: Counts = {"outputs": o, "weights": o * layer.row}
        if _is_point(layer):
            out = prod(layer.outputs[1:])
            lines = o * each * layer.outputs[1]
            return found | {"planes": o * each, "point rows": lines, "points": o * each * out}
        found |= {"input rows": o * height, "places": o * area, "sums": o * area * each}
        return found | _along(rows, columns, o * each)
    above = o // layer.groups
    found = {"channels": c, "input rows": c * height, "places": c * area, "read": c * read}
    if _is_point(layer):
        return found | {
            "point fours": c * read * (above // 4), "point ones": c * read * (above % 4),
        }  # fmt: skip
    some = columns[columns > 0]
    return found | {"sums": c * read * above} | _along(rows, some, c * above)


def _clip_conv(layer: Layer) -> Counts:
    o, each, (kh, kw) = layer.outputs[0], layer.inputs[0] // layer.groups, layer.kernel
    return {
        "sides": kh + kw, "outputs": o, "planes": o * each, "kernel rows": o * each * kh,
        "weights": o * layer.row, "places": prod(layer.outputs), "inputs": prod(layer.inputs),
        **_along(_outputs(layer, 0), _outputs(layer, 1), o * each),
    }  # fmt: skip


def _norm(layer: Layer) -> Counts:
    return {"groups": layer.groups, "channels": layer.inputs[0], "values": prod(layer.inputs)}


def _norm_back(layer: Layer, is_words: bool) -> Counts:
    return _norm(layer)


def _pool(layer: Layer) -> Counts:
    c, height, width = layer.outputs
    num, (kh, kw) = c * height * width, layer.kernel
    return {"channels": c, "output rows": c * height, "places": num, "runs": num * kh,
            "elements": num * kh * kw}  # fmt: skip


def _pool_back(layer: Layer, is_words: bool) -> Counts:
    return _pool(layer)


def _add(layer: Layer) -> Counts:
    return {"values": prod(layer.outputs)}


FORWARD: dict[str, Callable[[Layer], Counts]] = {
    CONV: _forward_conv, NORM: _norm, MOST: _pool, MEAN: _pool, ADD: _add,
}  # fmt: skip
BACKWARD: dict[str, Callable[[Layer, bool], Counts]] = {
    CONV: _backward_conv, NORM: _norm_back, MOST: _pool_back, MEAN: _pool_back,
}  # fmt: skip
CLIP: dict[str, Callable[[Layer], Counts]] = {CONV: _clip_conv, NORM: _norm}
