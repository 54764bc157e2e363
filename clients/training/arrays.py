"""Records in messages, and their arrays: handed over as they are within a process, encoded where
they cross a wire."""

import math
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import DTypeLike, NDArray

from clients.training.flat import Layout, Part

_NUMPY = "numpy.ndarray"  # flwr.common.constant.SType.NUMPY

MOST_WEIGHT = 1e6  # of a weight, either sign, whoever sends it
MOST_COUNT = 1 << 53  # of a counter among them

Kind = TypeVar("Kind", ArrayRecord, ConfigRecord, MetricRecord)
Record = TypeVar("Record", ArrayRecord, ConfigRecord, MetricRecord, RecordDict)


@cache
def _name(dtype: np.dtype) -> str:
    """numpy takes as long for it as for a small array's sum."""
    return str(dtype)


class HeldArray(Array):
    """Flower's Array of an ndarray, encoded when somebody asks for its bytes.

    Half of a round of small clients went into encoding arrays for, and decoding them from, no wire.

    Args:
        value: must not change any more.
    """

    __qualname__ = "Array"  # by which the other end of a wire finds the class: Flower's own

    def __init__(self, value: NDArray) -> None:
        self.__dict__.update(value=value, dtype=_name(value.dtype), shape=value.shape, stype=_NUMPY)

    def __getattr__(self, name: str) -> Any:
        if name != "data":  # the only attribute that an Array has and this one may not have yet
            raise AttributeError(name)
        data = self.__dict__["data"] = Array(self.numpy()).data
        return data

    def numpy(self) -> NDArray:
        """The array itself: not to be written to."""
        value: NDArray = self.__dict__["value"]
        return value


class PartArray(HeldArray):
    """One of a flat array's, made when it is asked for."""

    __qualname__ = "Array"

    def __init__(self, flat: NDArray[np.float32], part: Part) -> None:
        self.__dict__.update(flat=flat, part=part, dtype="float32", shape=part.shape, stype=_NUMPY)

    def numpy(self) -> NDArray:
        """The array itself: not to be written to."""
        part: Part = self.__dict__["part"]
        return part.of(self.__dict__["flat"])


def filled(record: Record, values: Mapping[str, Any]) -> Record:
    """A new record of Flower's with values that are known to be of its kind.

    Flower looks at the type of each key and value, which takes it longer than all the rest of a
    small client's message. Its name for what a record holds is not published.
    """
    record.__dict__["_data"].update(values)
    return record


def values_of(record: ConfigRecord | MetricRecord) -> dict[str, Any]:
    """A copy of what a record holds."""
    return dict(record.__dict__["_data"])


def record_of(content: RecordDict, name: str, kind: type[Kind]) -> Kind:
    """As `content.config_records[name]` and its like, which first make a new dict of all records.

    Raises:
        KeyError: there is none of that name and kind.
    """
    found = content[name]
    if not isinstance(found, kind):
        raise KeyError(name)
    return found


def held(arrays: Mapping[str, NDArray]) -> ArrayRecord:
    """A record of arrays which nobody changes any more."""
    record = filled(ArrayRecord(), {name: HeldArray(value) for name, value in arrays.items()})
    record.is_dirty = True  # as by each that is set
    return record


class FlatRecord(ArrayRecord):
    """Flower's ArrayRecord of arrays that lie one behind the other.

    Across a wire go the arrays; who has it in this process may take them all as one.

    Attributes:
        flat: none of it changes any more.
        layout: None once an array was put in the place of another.
    """

    __qualname__ = "ArrayRecord"  # as of `HeldArray`
    flat: NDArray[np.float32]
    layout: Layout | None = None

    def __setitem__(self, key: str, value: Array) -> None:
        self.layout = None
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.layout = None
        super().__delitem__(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return held, ({name: array.numpy() for name, array in self.items()},)


def held_flat(flat: NDArray[np.float32], layout: Layout) -> FlatRecord:
    """As `held`, of arrays that lie so in one."""
    record = FlatRecord()
    filled(record, {name: PartArray(flat, part) for name, part in layout.parts.items()})
    record.__dict__.update(flat=flat, layout=layout)
    record.is_dirty = True
    return record


def is_within(value: NDArray) -> bool:
    """Are all its numbers finite, and none larger than any weight may be?"""
    flat = value.ravel()
    if value.dtype.kind != "f":
        return bool(((flat >= -MOST_COUNT) & (flat <= MOST_COUNT)).all())
    if np.dot(flat, flat) <= MOST_WEIGHT**2:  # which tells it at once of almost any model
        return True
    with np.errstate(all="ignore"):
        return bool((np.abs(flat) <= MOST_WEIGHT).all())


def decode(name: str, array: Array, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """An array that came over the wire, looked at before memory is given to it.

    Raises:
        ValueError: longer than it should be, or of another shape or type.
    """
    expected = np.dtype(dtype)
    if isinstance(array, HeldArray):
        value = array.numpy()
        if value.shape != shape or value.dtype != expected:
            raise ValueError(f"{name} is {value.dtype}{list(value.shape)}")
        return value
    if len(array.data) > math.prod(shape) * expected.itemsize + 1024:
        raise ValueError(f"{name} is {len(array.data)} bytes long")
    content = BytesIO(array.data)
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f"{name} is not in numpy's format 1.0")
    found, _, kind = np.lib.format.read_array_header_1_0(content)
    if found != shape or kind != expected:
        raise ValueError(f"{name} is {kind}{list(found)}")
    return array.numpy()
