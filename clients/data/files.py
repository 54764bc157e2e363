"""[data] name = "file": records in the form in which people hold them, as a data set."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.bounds import Schema
from clients.data.dataset import Dataset
from clients.data.settings import Data, holds_arrays, is_hub, is_table
from clients.data.sources import arrays, hub, members, pictures, sounds, tables, windows
from clients.data.sources.members import Member
from clients.data.sources.raw import Raw
from clients.data.tasks import classes_of, flags_of, numbers_of
from clients.seeds import derive
from privacy.errors import DataError

KINDS = {"pictures": pictures.ENDS, "sounds": sounds.ENDS}
SAID = "said"  # what a model is to say, in `Raw.targets`


def kind_of(path: Path) -> str:
    """What lies there: `table`, `arrays`, `pictures` or `sounds`.

    Raises:
        DataError: nothing, or nothing that can be read.
    """
    if is_hub(path):
        return hub.kind_of(path)
    if is_table(path):
        return "table"
    if path.suffix.lower() == ".npz" or holds_arrays(path):
        return "arrays"
    if not path.exists():
        raise DataError(f"{path}: not there; give the file or folder of the records")
    if not (path.is_dir() or members.is_archive(path)):
        raise DataError(
            f"{path}: is no CSV, TSV, Parquet or npz file, and no folder, tar or zip of PNG, JPEG, "
            "WAV or FLAC files"
        )
    found = [kind for kind, ends in KINDS.items() if members.has(path, ends)]
    if len(found) != 1:
        told = " and ".join(found) or "neither pictures (PNG, JPEG) nor sounds (WAV, FLAC)"
        raise DataError(f"{path}: holds {told}; give a folder of one kind")
    return found[0]


def files_of(path: Path, kind: str, pattern: str, target: Sequence[str]) -> Iterator[Member]:
    """Pictures or sounds, each with what its path tells, or its row."""
    if is_hub(path):
        return hub.members(path, target)
    return members.members(path, KINDS[kind], pattern)


def read_file(path: Path, data: Data) -> tuple[Raw, Raw | None]:
    """Its records; and apart those that the file itself keeps for tests.

    Raises:
        DataError: it cannot be read, or does not fit its schema.
    """
    schema = data.schema or Schema()
    fields = list(dict.fromkeys([name for name in (data.person, *data.test) if name]))
    kind = kind_of(path)
    if is_hub(path):
        tests = hub.tests_of(path)
        train = _read_as(kind, path, data, fields)
        return train, None if tests is None else _read_as(kind, tests, data, fields)
    if kind == "arrays":
        if fields:
            raise DataError(
                f"{path}: arrays do not tell {fields[0]} of their records; leave [data] person and "
                "test out, or give a table"
            )
        return arrays.read_arrays(path, schema, data.target)
    return _read_as(kind, path, data, fields), None


def _read_as(kind: str, path: Path, data: Data, fields: Sequence[str]) -> Raw:
    schema = data.schema or Schema()
    if kind in KINDS:
        read = {"pictures": pictures.read_pictures, "sounds": sounds.read_sounds}[kind]
        return read(path, schema, files_of(path, kind, data.pattern, data.target), fields)
    if data.windows.length:
        return windows.read_windows(path, schema, data.windows, data.target, fields)
    if not data.target and data.task != "itself":
        raise DataError(f"{path}: [data] target = 'COLUMN' is missing: what is a model to say?")
    numeric = data.task == "number"
    return tables.read_table(path, schema, data.target, numeric, fields)


@lru_cache(maxsize=4)
def load_file(data: Data) -> Dataset:
    """A data set from `data.path`, and `data.test_path` if there is one.

    Raises:
        DataError: see `read_file`; or no record is left to train on.
    """
    path = Path(data.path or data.test_path)
    if not (data.path or data.test_path):
        raise DataError("[data] path: missing: the file of the records, or test_path alone")
    if data.schema is None:
        raise DataError(
            f"{path}: no schema says what is public of these records; draft one with: privet data "
            f"describe {path}"
        )
    train, test = _read(path, data)
    if not data.path:  # whoever trains elsewhere has records for tests alone
        train, test = train.chosen(np.arange(0)), train
    elif data.test_path:
        test, apart = _read(Path(data.test_path), data)
        if apart is not None and len(apart):
            raise DataError(f"{data.test_path}: keeps records for tests itself; take one of both")
    else:
        train, test = _split(path, train, test, data)
    train, test = _labelled(train, data), _labelled(test, data)
    train_y, test_y = train.targets[SAID], test.targets[SAID]
    if data.path and not len(train):
        raise DataError(f"{path}: no record is left to train on; {_remedy(data, len(test))}")
    if train.x.shape[1:] != test.x.shape[1:]:
        raise DataError(
            f"{path}: records are {list(train.x.shape[1:])}, and test records "
            f"{list(test.x.shape[1:])}: must be alike"
        )
    outputs = {
        "classes": len(data.schema.labels),
        "labels": len(data.target),
        "number": 1,
        "itself": int(np.prod(train.x.shape[1:])) if not train.columns else sum(train.columns),
    }[data.task]
    if data.task == "classes" and outputs < 2:
        raise DataError(
            f"{path}: its schema has {outputs} labels: of one class there is nothing to learn; "
            "give labels = [...] of two or more"
        )
    return Dataset(
        name=path.name.split(".")[0],
        train_x=train.x,
        train_y=train_y,
        test_x=test.x,
        test_y=test_y,
        sha256=_digest(train.x, train_y, test.x, test_y),
        num_classes=outputs,
        encoding=train.encoding,
        task=data.task,
        kind=train.kind,
        columns=train.columns,
        rate_hz=train.rate_hz,
        names=data.schema.class_names if data.task == "classes" else data.target,
        train_person=train.fields.get(data.person),
        test_person=test.fields.get(data.person),
        counts=tuple(sorted(train.counts.items())),
    )


def _split(path: Path, raw: Raw, test: Raw | None, data: Data) -> tuple[Raw, Raw]:
    """Records to train on, and others.

    Raises:
        DataError: none is as `test` says; or the file keeps its own, and more are asked for.
    """
    if test is not None:
        if data.test_share:
            raise DataError(
                f"{path}: [data] test_share = {data.test_share:g}: the file keeps records for "
                "tests itself; leave it out"
            )
        return raw, test
    apart = np.zeros(len(raw), dtype=bool)
    for name, values in data.test.items():
        if not (found := np.isin(raw.fields[name].astype(str), values)).any():
            raise DataError(f"{path}: no record has {name} = {' or '.join(values[:5])}")
        apart |= found
    if "part" in raw.fields:
        apart |= raw.fields["part"] == "test"
    if data.test_share:
        whose = raw.fields.get(data.person, np.arange(len(raw))).astype(str)
        names = np.unique(whose)
        num = max(1, round(data.test_share * len(names)))
        drawn = np.random.default_rng(derive(0, "test_share")).permutation(names)[:num]
        apart |= np.isin(whose, drawn)
    rest = raw.chosen(~apart) if apart.any() else raw
    return rest, raw.chosen(apart)


def _remedy(data: Data, tests: int) -> str:
    """What to change, where all labelled records are for tests, or none has a label."""
    if not tests:
        return "no one has a label: see unlabelled in the schema"
    if data.test_share:
        whose = f"persons ([data] person = {data.person!r})" if data.person else "records"
        return f"ask for a smaller [data] test_share than {data.test_share:g}, or give more {whose}"
    return "ask for fewer of them in [data] test, or give others"


def _read(path: Path, data: Data) -> tuple[Raw, Raw | None]:
    """As `read_file`, with what a model is to say as numbers: before records are drawn, so that an
    error names the place where they lie."""
    train, test = read_file(path, data)
    return _told(path, train, data), None if test is None else _told(path, test, data)


def _told(path: Path, raw: Raw, data: Data) -> Raw:
    """`targets` as numbers, under one name."""
    assert data.schema is not None
    names = [name for name in data.target if name in raw.targets] or list(raw.targets)
    values = [raw.targets[name] for name in names]
    if raw.kind == "table" and raw.place is tables.row:
        names = [f"column {name}" for name in names]
    counts = Counter(raw.counts)
    y: NDArray
    if data.task == "itself":
        y = np.zeros((len(raw), 0), dtype=np.float32)
    elif data.task == "labels":
        if not data.target:
            raise DataError(
                f"{path}: task = 'labels' needs a name for each label: [data] target = [...]"
            )
        if lacking := [name for name in data.target if name not in raw.targets]:
            raise DataError(
                f"{path}: a {raw.kind} has no {lacking[0]} to say under task = 'labels'; it has "
                f"{', '.join(raw.targets)}: use a table, or arrays with train_y of [N, K] flags"
            )
        y = flags_of(path, names, values, raw.place)
    elif data.task == "number":
        y = numbers_of(path, names[0], values[0], data.schema, raw.place, counts)
    else:
        y = classes_of(path, names[0], values[0], data.schema, raw.place)
    return replace(raw, targets={SAID: y}, counts=dict(counts))


def _labelled(raw: Raw, data: Data) -> Raw:
    """The records that have a label."""
    y = raw.targets[SAID]
    if data.task != "classes" or (y >= 0).all():
        return raw
    told = {**raw.counts, "unlabelled: left out": int((y < 0).sum())}
    return replace(raw.chosen(y >= 0), counts=told)


def _digest(*parts: NDArray) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(np.ascontiguousarray(part).data)
    return total.hexdigest()
