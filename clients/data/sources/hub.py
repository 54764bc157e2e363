"""Data sets of the Hugging Face Hub: `hub:NAME`, by Flower Datasets, which is an extra.

`hub:NAME[:SUBSET][@SPLIT]`. Without a split `train` is trained on, and `test`, if there is one, is
for tests. Rows come as Arrow: pictures and sounds are bytes, which nobody has decoded before they
come to `pictures` and `sounds`; and no code of a data set is run.
"""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clients.data.settings import HUB
from clients.data.sources.members import MOST_MEMBER_BYTES, Member
from privacy.errors import DataError
from privacy.foreign import read_foreign

KINDS = {"Image": "pictures", "Audio": "sounds"}  # by the class of a column's feature
AT_ONCE = 512
INSTALL = "pip install flwr-datasets (the extra `hub` of privet)"


def kind_of(path: Path) -> str:
    """What its rows are: `table`, `pictures` or `sounds`.

    Raises:
        DataError: it cannot be had, or has several columns of pictures or sounds.
    """
    found = _files(path)
    if len(found) > 1:
        raise DataError(f"{path}: has {' and '.join(found)}; a record is one picture, or one sound")
    return next(iter(found.values()), "table")


def names_of(path: Path) -> list[str]:
    """Its columns."""
    return list(_split(path).column_names)


def tests_of(path: Path) -> Path | None:
    """Its split for tests; None where it has none, or the path names the split that is meant."""
    if "@" in str(path):
        return None
    tests = Path(f"{path}@test")
    return tests if _split(tests, required=False) is not None else None


def blocks(path: Path, wanted: Sequence[str], num_rows: int) -> Iterator[pa.Table]:
    """Some of its columns, some rows at a time; classes by their names."""
    split = _split(path).select_columns(list(wanted))
    for start in range(0, len(split), num_rows):
        block = split[start : start + num_rows]
        yield pa.table({name: _named(split, name, block.column(name)) for name in wanted})


def members(path: Path, target: Sequence[str]) -> Iterator[Member]:
    """Each picture or sound, and what its row tells.

    Args:
        target: the column that a model is to say; none is the only one of classes.

    Raises:
        DataError: no column says what a model is to say; a row holds no file, or too large a one.
    """
    split, (file,) = _split(path), _files(path)
    label = target[0] if target else _only_classes(path, split)
    names = [name for name in split.column_names if name != file]
    if label not in names:
        raise DataError(f"{path}: column {label} is not there; it has {', '.join(names)}")
    scalar = [name for name in names if _is_scalar(split, name) or name == label]
    for start in range(0, len(split), AT_ONCE):
        block = split[start : start + AT_ONCE]
        texts = {name: _texts(_named(split, name, block.column(name))) for name in scalar}
        for place, piece in enumerate(block.column(file).to_pylist()):
            fields = {name: column[place] for name, column in texts.items() if name != "part"}
            row = f"row {start + place + 1}"
            fields["label"] = texts[label][place]
            yield Member(row, _content(path, row, piece), fields)


def _content(path: Path, row: str, piece: Any) -> bytes:
    content = piece and piece.get("bytes")
    if piece and content is None and piece.get("path"):
        try:
            content = read_foreign(Path(piece["path"]), MOST_MEMBER_BYTES)
        except OSError as error:
            raise DataError(f"{path}: {row}: {error.strerror or error}; take it out") from None
    if not content or len(content) > MOST_MEMBER_BYTES:
        told = f"more than {MOST_MEMBER_BYTES} bytes" if content else "no file"
        raise DataError(f"{path}: {row}: holds {told}; take it out")
    return content


def _only_classes(path: Path, split: Any) -> str:
    found = [name for name in split.column_names if _classes(split, name)]
    if len(found) != 1:
        raise DataError(
            f"{path}: [data] target = 'COLUMN' is missing: what is a model to say? It has "
            f"{', '.join(split.column_names)}"
        )
    return found[0]


def _files(path: Path) -> dict[str, str]:
    """Columns of pictures or sounds, and which of both they are."""
    features = _split(path).features
    kinds = {name: KINDS.get(type(feature).__name__) for name, feature in features.items()}
    return {name: kind for name, kind in kinds.items() if kind}


def _classes(split: Any, name: str) -> Sequence[str]:
    """The names of a column's classes; none of another column."""
    return getattr(split.features[name], "names", None) or ()


def _is_scalar(split: Any, name: str) -> bool:
    return type(split.features[name]).__name__ in ("Value", "ClassLabel")


def _named(split: Any, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Classes by their names; -1, which is of no class, as it is."""
    names = _classes(split, name)
    if not names:
        return column
    known = pa.array([*names, "-1"])
    places = pc.if_else(pc.less(column, 0), len(names), column)
    return pc.take(known, places)


def _texts(column: pa.ChunkedArray) -> list[str]:
    return pc.fill_null(pc.cast(column, pa.string()), "").to_pylist()


def _split(path: Path, required: bool = True) -> Any:
    """One split, whose rows come as Arrow; None if it is not there and need not be."""
    whole, _, split = str(path).removeprefix(HUB).partition("@")
    try:
        return _opened(whole).load_split(split or "train").with_format("arrow")
    except DataError:
        raise
    except Exception as error:  # the hub, its cache, the network each have their own
        if not required and isinstance(error, ValueError):
            return None
        reason = (str(error).split("\n")[0] or type(error).__name__)[:200].rstrip(". ")
        raise DataError(
            f"{path}: cannot be had: {reason}; see hub:NAME[:SUBSET][@SPLIT], and the network"
        ) from None


@lru_cache(maxsize=4)
def _opened(whole: str) -> Any:
    """A data set of the hub by its name and subset.

    Raises:
        DataError: Flower Datasets is not installed.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # it tells its makers what is loaded
    try:
        from flwr_datasets import FederatedDataset
    except ImportError:
        raise DataError(f"{HUB}{whole}: needs flwr-datasets; {INSTALL}") from None
    name, _, subset = whole.partition(":")
    return FederatedDataset(
        dataset=name,
        subset=subset or None,
        partitioners={},
        shuffle=False,
        trust_remote_code=False,
    )
