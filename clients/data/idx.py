"""One IDX file, as MNIST's come (LeCun): a header of sizes, then unsigned bytes; gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privacy.errors import DataError
from privacy.foreign import MOST_ARRAYS_BYTES, Stream, open_foreign, read_exactly

TYPES = {  # by the third byte
    8: "unsigned bytes",
    9: "signed bytes",
    11: "int16",
    12: "int32",
    13: "float32",
    14: "float64",
}
MOST_DIMENSIONS = 4  # pictures of channels are read, to be told that they have them


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, gzipped or not.

    Raises:
        DataError: not IDX of unsigned bytes, or not as long as its header says.
    """
    try:
        with open_foreign(path, MOST_ARRAYS_BYTES) as file:
            stream: Stream = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            shape = _idx_shape(path, stream)
            try:
                content = read_exactly(stream, math.prod(shape))
            except ValueError as error:
                raise DataError(f"{path}: {error}: its header promises {shape}") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from None
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _idx_shape(path: Path, stream: Stream) -> tuple[int, ...]:
    """What the header promises: all that is read before it is believed."""
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    if head[2] != 8:
        raise DataError(
            f"{path}: not an IDX file of unsigned bytes, but of {TYPES[head[2]]}: scale the "
            "values to whole numbers from 0 to 255"
        )
    if not 1 <= head[3] <= MOST_DIMENSIONS:
        raise DataError(
            f"{path}: its header promises {head[3]} dimensions; images have 3, labels 1"
        )
    sizes = stream.read(4 * head[3])
    shape = tuple(int(n) for n in np.frombuffer(sizes[: len(sizes) // 4 * 4], dtype=">u4"))
    if len(shape) != head[3]:
        raise DataError(f"{path}: cut short within its header")
    if math.prod(shape) > MOST_ARRAYS_BYTES:
        raise DataError(
            f"{path}: its header promises {list(shape)}: more than {MOST_ARRAYS_BYTES} bytes"
        )
    return shape
