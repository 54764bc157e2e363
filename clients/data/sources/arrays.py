"""Arrays of any shape, from numpy's npz; or from a folder of npy files, which may be larger than
memory."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.bounds import Column, Schema
from clients.data.encodings import Columns, Scaled
from clients.data.formats import read_archive
from clients.data.settings import ARRAYS
from clients.data.sources.members import MOST_ARCHIVE_BYTES
from clients.data.sources.piles import AT_ONCE, Pile
from clients.data.sources.raw import Raw
from clients.data.sources.tables import scaled
from clients.data.sources.windows import require_channels
from privacy.errors import DataError
from privacy.foreign import open_foreign

LARGEST = {np.dtype(np.uint8): 255.0}
CHANNELS = (1, 3)


def read_arrays(path: Path, schema: Schema, names: Sequence[str] = ()) -> tuple[Raw, Raw | None]:
    """Training records, and test records where there are some.

    uint8 [N, H, W], and any [N, C, H, W] or [N, H, W, 3], are pictures; [N, F] is a table of
    numbers, and other [N, C, L] are windows. The schema bounds columns and channels, save of bytes'
    pixels.

    Args:
        names: of the columns of train_y [N, K], under `task = "labels"`.

    Raises:
        DataError: not such an archive, or its schema does not fit it.
    """
    arrays = open_arrays(path)
    train = _records(path, "train", arrays, schema, names)
    if not {"test_x", "test_y"} & set(arrays):
        return train, None
    return train, _records(path, "test", arrays, schema, names)


def open_arrays(path: Path) -> dict[str, NDArray]:
    """train_x and train_y, and test_x and test_y where they are there; a folder's as maps.

    Raises:
        DataError: not such an archive, or a folder of other files.
    """
    return _mapped(path) if path.is_dir() else read_archive(path)


def are_pictures(x: NDArray) -> bool:
    """Are these records pictures, whose pixels need no schema?"""
    return x.dtype == np.uint8 and x.ndim in (3, 4)


def require_numbers(path: Path, part: str, x: NDArray) -> None:
    """Refuse arrays that are no records of any kind.

    Raises:
        DataError: they are no numbers, or of too many sides.
    """
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "biuf":
        raise DataError(
            f"{path}: {part}_x is {x.dtype} {list(x.shape)}; must be numbers [N, F], [N, C, L] or "
            "[N, C, H, W]; put further sides into one of these"
        )


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


def _records(
    path: Path, part: str, arrays: dict[str, NDArray], schema: Schema, names: Sequence[str]
) -> Raw:
    if lacking := [name for name in (f"{part}_x", f"{part}_y") if name not in arrays]:
        raise DataError(f"{path}: has no {lacking[0]}; give both, or take the other out")
    x, y = arrays[f"{part}_x"], arrays[f"{part}_y"]
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
        raise DataError(
            f"{path}: {part}_x {list(x.shape)} does not fit {part}_y {list(y.shape)}; give records "
            "[N, ...] and labels [N]"
        )
    targets = _targets(path, part, y, names)
    require_numbers(path, part, x)
    if x.ndim == 4:
        x = _channels_first(path, part, x)
    if are_pictures(x):
        x = _without_one_channel(x)
        x = x if x.flags.c_contiguous else np.ascontiguousarray(x)
        return Raw(x, targets, Scaled(255.0), "picture")
    columns = _bounds(path, x.shape[1], schema)
    if x.ndim == 3:
        require_channels(path, dict(columns))
    counts: Counter[str] = Counter()
    pile, wrong, first = Pile(), 0, 0
    for start in range(0, max(len(x), 1), AT_ONCE):
        block = np.asarray(x[start : start + AT_ONCE])
        finite = np.isfinite(block)
        if not (wrong or finite.all()):
            first = start + int(np.argwhere(~finite)[0][0]) + 1
        wrong += int((~finite).sum())
        parts = [
            scaled(block[:, i].astype(np.float64), column, name, counts)
            for i, (name, column) in enumerate(columns)
        ]
        made = np.stack(parts, axis=1).astype(np.float32)
        pile.add((made + 1) / 2 if x.ndim == 4 else made)  # pixels are from 0 to 1
    if wrong:
        raise DataError(
            f"{path}: {part}_x holds {wrong} values that are no finite numbers, the first in "
            f"record {first}; mend them"
        )
    values = pile.whole()
    if x.ndim == 4:
        return Raw(_without_one_channel(values), targets, Scaled(), "picture", counts=counts)
    if x.ndim == 3:
        return Raw(values, targets, Scaled(), "window", rate_hz=schema.rate_hz, counts=counts)
    read = schema.model_copy(update={"columns": dict(columns)})
    return Raw(values, targets, Columns(read), "table", columns=read.widths, counts=counts)


def _channels_first(path: Path, part: str, x: NDArray) -> NDArray:
    """Pictures [N, C, H, W], of such or of [N, H, W, C].

    Raises:
        DataError: what its channels are cannot be told.
    """
    if x.shape[1] not in CHANNELS and x.shape[3] in CHANNELS:
        return x.transpose(0, 3, 1, 2)
    if x.shape[1] not in CHANNELS and x.shape[3] < max(x.shape[1], 8):
        raise DataError(
            f"{path}: {part}_x {list(x.shape)}: of pictures with more than 3 channels these come "
            "first, and before larger sides: [N, C, H, W]"
        )
    return x


def _without_one_channel(x: NDArray) -> NDArray:
    return x[:, 0] if x.ndim == 4 and x.shape[1] == 1 else x


def _targets(path: Path, part: str, y: NDArray, names: Sequence[str]) -> dict[str, NDArray]:
    """Each record's label as text, or its flags by name.

    Raises:
        DataError: they are neither.
    """
    if y.dtype.kind not in "iufbU":
        raise DataError(f"{path}: {part}_y is {y.dtype}; must be numbers or text")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.shape[1] == len(names):
        return {name: texts_of(y[:, place]) for place, name in enumerate(names)}
    if y.ndim != 1:
        raise DataError(
            f"{path}: {part}_y {list(y.shape)}: must be a label each, [N]; or [N, K] under task = "
            "'labels', with the K names in [data] target"
        )
    return {"label": texts_of(y)}


def texts_of(y: NDArray) -> NDArray:
    """Labels as a schema names them: 2.0 is 2."""
    if y.dtype.kind == "f" and (np.isfinite(y) & (y == np.round(y)) & (abs(y) < 2**53)).all():
        y = y.astype(np.int64)
    return y.astype(str).astype(object)


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
