"""HeldArray: Flower's Array to everyone who asks, and no bytes until somebody does."""

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from clients.arrays import HeldArray, encoded_bytes, held

VALUE = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_nothing_is_encoded_within_a_process():
    array = HeldArray(VALUE)
    assert array.numpy() is VALUE
    assert encoded_bytes(array) == VALUE.nbytes
    assert "data" not in vars(array)


def test_it_is_an_array_of_flowers():
    mine, flowers = HeldArray(VALUE), Array(VALUE)
    assert (mine.dtype, mine.shape, mine.stype) == (flowers.dtype, flowers.shape, flowers.stype)
    assert mine.data == flowers.data
    assert mine.object_id == flowers.object_id
    assert encoded_bytes(flowers) == len(flowers.data)


def test_it_arrives_over_a_wire_as_flowers_array():
    """What crosses a wire: the same objects, of the same names, as of Flower's own arrays."""
    sent = get_all_nested_objects(held({"w": VALUE, "b": VALUE[0]}))
    flowers = get_all_nested_objects(ArrayRecord({"w": Array(VALUE), "b": Array(VALUE[0])}))
    assert {k: v.deflate() for k, v in sent.items()} == {k: v.deflate() for k, v in flowers.items()}
