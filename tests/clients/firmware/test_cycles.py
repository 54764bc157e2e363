"""Trips of loops, counted by going through them; and the table against nets it was not made of."""

from itertools import product

import numpy as np
import pytest

from clients.firmware.budget import count
from clients.firmware.compiling import missing
from clients.firmware.cycles.drawn import NETS
from clients.firmware.cycles.measure import amount, fitted, kernels_of
from clients.firmware.cycles.predicted import TABLE, errors, predict, table
from clients.firmware.cycles.trips import _elements, _outputs, _readers, trips
from clients.firmware.plan import CONV
from clients.firmware.sources import sources

SEEDS = range(900, 920)  # none of the table's


@pytest.mark.parametrize("seed", SEEDS)
def test_trips_are_those_of_the_loops_themselves(seed):
    """Of a kernel, an element and an output that read what is there: by each of three loops."""
    contract, layers, _ = drawn = NETS["layers"](np.random.default_rng(seed), "float")
    assert sum(w.size + b.size for w, b in layers) == contract.num_weights
    for layer in (one for one in contract.plan if one.kind == CONV):
        pairs = []
        for side in (0, 1):
            size, pad = layer.inputs[1 + side], layer.padding[side]
            reads = [
                (y, i, y * layer.stride[side] + i - pad)
                for y, i in product(range(layer.outputs[1 + side]), range(layer.kernel[side]))
                if 0 <= y * layer.stride[side] + i - pad < size
            ]
            for loop, place in ((_elements, 0), (_outputs, 1), (_readers, 2)):
                found = loop(layer, side)
                slow = [sum(one[place] == at for one in reads) for at in range(len(found))]
                assert found.tolist() == slow
            pairs.append(len(reads))
        (one,) = [
            t for t in trips(kernels_of(drawn), 3, 9)
            if (t.phase, t.layer) == ("forward", contract.plan.index(layer))
        ]  # fmt: skip
        products = pairs[0] * pairs[1] * layer.outputs[0] * layer.inputs[0] // layer.groups
        counts, point = one.counts, "point " if "points" in one.counts else ""
        assert 4 * counts[f"{point}fours"] + counts[f"{point}ones"] == products


def test_what_each_loop_takes_is_found_again():
    """Of times that were made of it; a layer at rest does not count."""
    dice = np.random.default_rng(0)
    counts = [{"rows": int(a), "fours": int(b)} for a, b in dice.integers(1, 99, (30, 2))]
    rows = [(one, 7.0 * one["rows"] + 21.0 * one["fours"]) for one in counts]
    found = fitted([*rows, ({"rows": 50, "fours": 50}, 60.0)])
    assert found == pytest.approx({"rows": 7.0, "fours": 21.0}, rel=0.01)


def test_the_table_tells_its_own_error():
    for core in ("m4", "m7"):
        typical, worst = errors(core)
        assert 0 < typical <= 0.15
        assert worst < 0.5
        assert table()[core]["error"]["of a layer"]["within 15 %"] >= 0.9
    assert TABLE.stat().st_size < 100_000


@pytest.mark.skipif(bool(missing()), reason="not verified on the target: privet[firmware]")
@pytest.mark.parametrize(
    ("net", "kind", "core"),
    [("layers", "float", "m7"), ("layers", "fixed-8", "m4"), ("perceptron", "ternary-2", "m4")],
)
def test_predicted_is_what_is_counted(net, kind, core):
    """Or a kernel has changed: run python -m clients.firmware.cycles.measure."""
    contract, layers, records = drawn = NETS[net](np.random.default_rng(901), kind)
    num, parts = count(sources(contract, layers), contract, records, core)
    told = {(one.phase, one.layer): one for one in predict(kernels_of(drawn), core, num, 10)}
    took = {(one.phase, one.layer): one.cycles[0] for one in parts if one.layer >= 0}
    off = np.array([abs(told[place].cycles[0] / cycles - 1) for place, cycles in took.items()])
    assert len(off) >= 2 * contract.num_layers
    assert np.median(off) <= 0.08
    assert np.mean(off <= 0.15) >= 0.8
    whole = [sum(one.cycles[0] for one in some) for some in (told.values(), parts)]
    assert whole[0] == pytest.approx(whole[1], rel=0.1)
    assert amount(parts[0], "m4") == parts[0].cycles[0]
