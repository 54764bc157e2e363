"""Arrays of any shape, from numpy's npz; or from a folder of npy files, which may be larger than
memory."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.bounds import Column, Schema
from clients.data.encodings import Columns, Scaled
from clients.data.formats import ARRAYS, read_archive
from clients.data.sources.members import MOST_ARCHIVE_BYTES
from clients.data.sources.piles import AT_ONCE, Pile
from clients.data.sources.raw import Raw
from clients.data.sources.tables import scaled
from privacy.errors import DataError
from privacy.foreign import open_foreign

LARGEST = {np.dtype(np.uint8): 255.0}
CHANNELS = (1, 3)


def read_arrays(path: Path, schema: Schema) -> tuple[Raw, Raw | None]:
    """Training records, and test records where there are some.

    uint8 [N, H, W], [N, 3, H, W] and [N, H, W, 3] are pictures; [N, F] is a table of numbers, and
    other [N, C, L] are windows, whose columns or channels the schema bounds.

    Raises:
        DataError: not such an archive, or its schema does not fit it.
    """
    arrays = _mapped(path) if path.is_dir() else read_archive(path)
    train = _records(path, "train", arrays, schema)
    return train, _records(path, "test", arrays, schema) if "test_x" in arrays else None


def holds_arrays(folder: Path) -> bool:
    """Is it a folder of train_x.npy and its like?"""
    return (folder / f"{ARRAYS[0]}.npy").is_file()


def _mapped(folder: Path) -> dict[str, NDArray]:
    """Maps of a folder's npy files: what is read of them is forgotten when memory is short."""
    arrays = {}
    for name in ARRAYS:
        path = folder / f"{name}.npy"
        if name.startswith("test") and not path.exists():
            continue
        try:
            open_foreign(path, MOST_ARCHIVE_BYTES).close()  # no pipe, which would be waited for
            arrays[name] = np.load(path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
            raise DataError(f"{path}: cannot be read: {reason}") from None
    return arrays


def _records(path: Path, part: str, arrays: dict[str, NDArray], schema: Schema) -> Raw:
    x, y = arrays[f"{part}_x"], arrays[f"{part}_y"]
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise DataError(
            f"{path}: {part}_x {list(x.shape)} does not fit {part}_y "
            f"{list(y.shape)}; must be [N, ...] and [N]"
        )
    targets = {"label": y.astype(str).astype(object) if y.dtype.kind in "iuUb" else y}
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        if x.ndim == 4 and x.shape[1] not in CHANNELS:
            if x.shape[3] not in CHANNELS:
                raise DataError(f"{path}: {part}_x {list(x.shape)}: pictures have 1 or 3 channels")
            x = x.transpose(0, 3, 1, 2)
        if x.ndim == 4 and x.shape[1] == 1:
            x = x[:, 0]
        if not x.flags.c_contiguous:
            x = np.ascontiguousarray(x)
        return Raw(x, targets, Scaled(255.0), "picture")
    if x.ndim not in (2, 3) or x.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: {part}_x is {x.dtype} {list(x.shape)}; must be numbers [N, F] or [N, C, L], "
            "or pictures as uint8"
        )
    columns = _bounds(path, x.shape[1], schema)
    if x.ndim == 3 and any(column.knots for _, column in columns):
        raise DataError(f"{path}: its schema gives knots: they are a table's, windows have none")
    counts: Counter[str] = Counter()
    pile, wrong = Pile(), 0
    for start in range(0, max(len(x), 1), AT_ONCE):
        block = np.asarray(x[start : start + AT_ONCE])
        wrong += int((~np.isfinite(block)).sum())
        parts = [
            scaled(block[:, i].astype(np.float64), column, name, counts)
            for i, (name, column) in enumerate(columns)
        ]
        pile.add(np.stack(parts, axis=1).astype(np.float32))
    if wrong:
        raise DataError(
            f"{path}: {part}_x holds {wrong} values that are no finite numbers; mend them"
        )
    values = pile.whole()
    if x.ndim == 3:
        return Raw(values, targets, Scaled(), "window", rate_hz=schema.rate_hz, counts=counts)
    read = schema.model_copy(update={"columns": dict(columns)})
    return Raw(values, targets, Columns(read), "table", columns=read.widths, counts=counts)


def _bounds(path: Path, num: int, schema: Schema) -> Sequence[tuple[str, Column]]:
    """Of each column; one of the schema stands for all."""
    known = list(schema.columns.items())
    if len(known) == 1 and num > 1:
        return [(f"{known[0][0]} {i}", known[0][1]) for i in range(num)]
    if len(known) != num or any(column.values for _, column in known):
        raise DataError(
            f"{path}: {num} columns or channels, and the schema bounds {len(known)}: give low and "
            "high of each in their order, or of one for all"
        )
    return known
