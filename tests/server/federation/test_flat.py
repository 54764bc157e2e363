"""Weights in one array: in this process as one, over a wire Flower's own, and no other numbers."""

import pickle

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from clients.draws import digest
from clients.models import Model
from clients.protocol import Form
from clients.training.arrays import held, held_flat
from clients.training.compression import Compression
from clients.training.flat import Start, layout_of
from clients.training.net import Net, build
from clients.training.pruning import Pruning
from server.experiment.strategy import Strategy
from server.federation.aggregation import Expected, Gathered
from server.federation.grid import identify
from server.federation.strategies import build_strategy

SHAPES = {"b.weight": (4, 3), "a.bias": (5,), "c": (2, 1, 2)}  # not in the server's order
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())
LAYOUT = layout_of({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})
GLOBAL = {name: np.zeros(SHAPES[name], np.float32) for name in sorted(SHAPES)}


def flats(num):
    rng = np.random.default_rng(5)
    return [rng.normal(size=SIZE).astype(np.float32) for _ in range(num)]


def named(flat):
    return {name: part.of(flat) for name, part in LAYOUT.parts.items()}


def unpacked(record, examples=7):
    identify()
    content = RecordDict(
        {
            "arrays": record,
            "metrics": MetricRecord({"num-examples": examples}),
            "spent": ConfigRecord({"ledger": "[]"}),
        }
    )
    reply = Message(content, dst_node_id=0, message_type="train")
    return Expected(GLOBAL, Compression(), Pruning()).unpack(reply)


def gathered(records):
    gathering = Gathered(build_strategy(Strategy(), 0.1))
    for place, record in enumerate(records):
        gathering.add(unpacked(record, 3 + 7 * place))
    found = gathering.aggregate(1)
    return {name: found[name].numpy() for name in found}


@pytest.mark.parametrize("flat_ones", [{0, 1, 2, 3}, {1, 2}, {0, 3}])
def test_a_mean_is_the_same_to_the_bit_and_in_the_servers_order(flat_ones):
    ways = [
        held_flat(f, LAYOUT) if i in flat_ones else held(named(f)) for i, f in enumerate(flats(4))
    ]
    plain = gathered([held(named(flat)) for flat in flats(4)])
    found = gathered(ways)
    assert list(found) == list(GLOBAL)
    assert {k: v.tobytes() for k, v in found.items()} == {k: plain[k].tobytes() for k in GLOBAL}


def test_an_update_is_what_it_is_by_name():
    (flat,) = flats(1)
    mine, plain = unpacked(held_flat(flat, LAYOUT)), unpacked(held(named(flat)))
    assert list(mine.weights) == list(plain.weights) == list(GLOBAL)
    assert all(np.array_equal(mine.weights[name], plain.weights[name]) for name in GLOBAL)
    assert mine.size_bytes == plain.size_bytes == 4 * SIZE


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e6, -2e6])
def test_what_is_beyond_is_refused_by_its_name(value):
    (flat,) = flats(1)
    flat[LAYOUT.parts["a.bias"].begin] = value
    with pytest.raises(ValueError, match=r"a\.bias is not finite, or beyond"):
        unpacked(held_flat(flat, LAYOUT))


def test_an_array_that_is_put_in_counts_and_one_that_is_taken_out_is_missed():
    (flat,) = flats(1)
    record = held_flat(flat, LAYOUT)
    record["c"] = Array(np.full(SHAPES["c"], 9, np.float32))
    assert (unpacked(record).weights["c"] == 9).all()
    record = held_flat(flat, LAYOUT)
    del record["c"]
    with pytest.raises(ValueError, match="other arrays than the model's"):
        unpacked(record)
    record = held_flat(flat, LAYOUT)
    record["c"] = Array(np.full(SHAPES["c"], np.nan, np.float32))
    with pytest.raises(ValueError, match="c is not finite"):
        unpacked(record)


def test_another_layout_is_looked_at_by_name():
    other = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    other["c"] = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r"c is float32\[4\]"):
        unpacked(held_flat(flats(1)[0], layout_of(other)))


def test_over_a_wire_it_is_flowers_record():
    (flat,) = flats(1)
    sent = get_all_nested_objects(held_flat(flat, LAYOUT))
    flowers = get_all_nested_objects(ArrayRecord({k: Array(v) for k, v in named(flat).items()}))
    assert {k: v.deflate() for k, v in sent.items()} == {k: v.deflate() for k, v in flowers.items()}
    again = pickle.loads(pickle.dumps(held_flat(flat, LAYOUT)))  # as Ray's actors hand it over
    assert {k: v.numpy().tobytes() for k, v in again.items()} == {
        k: v.tobytes() for k, v in named(flat).items()
    }


@pytest.mark.parametrize(
    "odd", [np.zeros(3, np.float64), np.zeros(3, np.int64), np.float32(1).reshape(())]
)
def test_only_float32_lies_in_one(odd):
    assert layout_of({**GLOBAL, "odd": odd}) is None


@pytest.mark.parametrize("name", ["perceptron", "convnet", "linear"])
def test_a_net_takes_over_a_start_and_knows_its_digest_once(name):
    net = Net(build(Model(name=name), form := Form((1, 28, 28), 10, "picture")), form.shape)
    start = Start({k: torch.randn_like(v) for k, v in net.state().items()})
    net.start(start)
    assert all(torch.equal(net.state()[k], v) for k, v in start.state.items())
    assert list(net.arrays()) == list(net.state())
    assert np.array_equal(net.flat(), np.concatenate([v.ravel() for v in net.arrays().values()]))
    assert net.take_digest() == digest(start.state.values())
    for tensor in net.state().values():  # as training does
        tensor.add_(1)
    assert net.take_digest() == digest(net.state().values()) != start.digest
    net.start(start)
    net.load({k: v + 1 for k, v in start.state.items()})
    assert net.take_digest() == digest(net.state().values()) != start.digest
