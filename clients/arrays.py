"""Arrays in messages: handed over as they are within a process, encoded where they cross a wire."""

from collections.abc import Mapping
from typing import Any

from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

_NUMPY = "numpy.ndarray"  # flwr.common.constant.SType.NUMPY


class HeldArray(Array):
    """Flower's Array of an ndarray, encoded when somebody asks for its bytes.

    Half of a round of small clients went into encoding arrays for, and decoding them from, no wire.

    Args:
        value: must not change any more.
    """

    __qualname__ = "Array"  # by which the other end of a wire finds the class: Flower's own

    def __init__(self, value: NDArray) -> None:
        self.__dict__.update(
            value=value, dtype=str(value.dtype), shape=tuple(value.shape), stype=_NUMPY
        )

    def __getattr__(self, name: str) -> Any:
        if name != "data":  # the only attribute that an Array has and this one may not have yet
            raise AttributeError(name)
        data = self.__dict__["data"] = Array(self.__dict__["value"]).data
        return data

    def numpy(self) -> NDArray:
        """The array itself: not to be written to."""
        value: NDArray = self.__dict__["value"]
        return value


def held(arrays: Mapping[str, NDArray]) -> ArrayRecord:
    """A record of arrays which nobody changes any more."""
    record = ArrayRecord()
    for name, value in arrays.items():
        record[name] = HeldArray(value)
    return record


def encoded_bytes(array: Array) -> int:
    """How long an array is that came over a wire; of one that did not, without encoding it."""
    return array.numpy().nbytes if isinstance(array, HeldArray) else len(array.data)
