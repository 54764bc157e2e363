"""HeldArray: Flower's Array to everyone who asks, and no bytes until somebody does."""

import re
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from clients.training.arrays import HeldArray, decode, held

VALUE = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_nothing_is_encoded_within_a_process():
    array = HeldArray(VALUE)
    assert array.numpy() is VALUE
    assert decode("w", array, (3, 4), "float32") is VALUE
    assert "data" not in vars(array)


def test_it_is_an_array_of_flowers():
    mine, flowers = HeldArray(VALUE), Array(VALUE)
    assert (mine.dtype, mine.shape, mine.stype) == (flowers.dtype, flowers.shape, flowers.stype)
    assert mine.data == flowers.data
    assert mine.object_id == flowers.object_id
    assert np.array_equal(decode("w", flowers, (3, 4), "float32"), VALUE)


@pytest.mark.parametrize(
    ("shape", "dtype", "extra", "says"),
    [
        ((2_684_354_560,), "<f4", b"", "w is float32[2684354560]"),  # 10 GB, it says
        ((1 << 62, 4), "<f4", b"", "w is float32"),
        ((3, 4), "<f8", b"", "w is float64[3, 4]"),
        ((3, 4), "|O", b"", "w is object[3, 4]"),
        ((3, 4), "<f4", bytes(2000), "bytes long"),
        ((3, 4), "<f4", b"", "EOF"),  # less than it says
    ],
)
def test_what_an_array_claims_is_read_before_memory_is_given_to_it(shape, dtype, extra, says):
    content = BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": dtype}
    np.lib.format.write_array_header_1_0(content, header)
    liar = Array(
        dtype="float32", shape=(3, 4), stype="numpy.ndarray", data=content.getvalue() + extra
    )
    tracemalloc.start()
    with pytest.raises(ValueError, match=re.escape(says)):
        decode("w", liar, (3, 4), "float32")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_is_no_array_is_refused():
    data = b"\x93NUMPY\x02\x00" + bytes(60)
    with pytest.raises(ValueError, match="format"):
        decode("w", Array(dtype="f4", shape=(1,), stype="numpy.ndarray", data=data), (1,), "f4")


def test_it_arrives_over_a_wire_as_flowers_array():
    """What crosses a wire: the same objects, of the same names, as of Flower's own arrays."""
    sent = get_all_nested_objects(held({"w": VALUE, "b": VALUE[0]}))
    flowers = get_all_nested_objects(ArrayRecord({"w": Array(VALUE), "b": Array(VALUE[0])}))
    assert {k: v.deflate() for k, v in sent.items()} == {k: v.deflate() for k, v in flowers.items()}
