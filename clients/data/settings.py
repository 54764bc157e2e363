"""[data]: what is trained on, and how it is spread over clients."""

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from clients.data.bounds import Schema
from privacy.settings import Range, Section

HUB = "hub:"  # before the name of a data set of the Hugging Face Hub
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet")
ARRAYS = ("train_x", "train_y", "test_x", "test_y")
MOST_RECORDS = (1 << 31) - 1
MOST_SAMPLES = 1 << 20  # of a window
MOST_SIDE = 1 << 14  # pixels
MOST_CLASSES = 65_536

# pydantic's old name for a JSON schema; nobody calls it here.
warnings.filterwarnings("ignore", message='Field name "schema" in "Data" shadows')


class Windows(Section):
    """[data.windows]: how recordings are cut.

    Attributes:
        length: samples of a window; 0 cuts nothing: a row is a record.
        step: from one window's start to the next one's; less than `length` and windows share
            samples.
        within: columns that part recordings; a change in one of them begins another.
        majority: share of a window's samples that must have one label, which is the window's then;
            at 1 windows begin anew where the label changes, and none is mixed.
    """

    length: Annotated[int, Range(0, MOST_SAMPLES)] = 0
    step: Annotated[int, Range(1, MOST_SAMPLES)] = 1
    within: tuple[str, ...] = Field(default=(), strict=False, max_length=16)
    majority: Annotated[float, Range(0.5, 1.0)] = 1.0


class Data(Section):
    """What is trained on and how it is spread over clients.

    Attributes:
        name: `mnist` and `fashion-mnist` (see `privet data fetch`), `digits` (scikit-learn's),
            `idx`: the folder `path`, of IDX files of MNIST's kind (or see `formats.read_folder`),
            or `file`: whatever lies at `path` (see `clients.data.sources`), with a schema; or a
            data set of the Hugging Face Hub, `hub:NAME`.
        schema: what is public of the records in a file; in a settings file the path of a TOML file,
            or nothing where `schema.toml` lies beside the records.
        test_path: a file of the same kind, none of whose records is trained on; without a `path`
            it is all that is here: devices have theirs.
        test: which records of the file are not trained on either: by values of a column, or of a
            {field} of `pattern`.
        test_share: which share of the persons, or of the records where nobody says whose they are,
            is drawn to be tested on, if neither `test_path` nor `test` tells.
        task: what a model is to say of a record: one of some `classes`, which `labels` of several
            it has, a `number`, or the record `itself`.
        target: the column, or columns under `labels`, that says so.
        person: the column, or {field} of `pattern`, that says whose a record is.
        pattern: of the paths of pictures and sounds: `{label}_{person}_{index}.wav`; without one
            each label has a folder.
        windows: how long recordings in a table are cut.
        limit: use only so many training records, chosen by the run's seed; 0 uses all.
        crop: pixels cut off every side of every image.
        partition: `iid`; `dirichlet`: each label spread by Dirichlet(alpha) (Hsu et al. 2019);
            `shards`: each client gets `shards` runs of records sorted by label (McMahan 2017);
            `person`: clients hold whole persons, one each if there are as many;
            `nodes`: each client is a device with its own folder of records.
        held_out: share of each client's records that it never trains on.
        classes: labels are 0 ... classes - 1, told to devices, which may lack some; 0 is up to the
            greatest label of the records, for training or test.
        shape: of a record as a model reads it, told to devices; nothing set is as it is found.
        nominal_records: how many records a client is said to train on, told to devices; 0 is all
            training records over all clients. Under a budget it stands wherever the client's own
            number would: that is private, since neighbours differ by a record.
    """

    name: Literal["mnist", "fashion-mnist", "digits", "idx", "file"] = "digits"
    path: str = ""
    schema: Schema | None = None  # type: ignore[assignment]
    test_path: str = ""
    test: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    test_share: Annotated[float, Range(1e-6, 0.9, or_zero=True)] = 0.0
    task: Literal["classes", "labels", "number", "itself"] = "classes"
    target: tuple[str, ...] = Field(default=(), strict=False, max_length=256)
    person: str = ""
    pattern: str = ""
    windows: Windows = Windows()
    limit: Annotated[int, Range(0, MOST_RECORDS)] = 0
    crop: Annotated[int, Range(0, MOST_SIDE)] = 0
    partition: Literal["iid", "dirichlet", "shards", "person", "nodes"] = "iid"
    alpha: Annotated[float, Range(1e-3, 1e6)] = 0.5
    shards: Annotated[int, Range(1, 1_000_000)] = 2
    held_out: Annotated[float, Range(1e-6, 0.999, or_zero=True)] = 0.1
    classes: Annotated[int, Range(0, MOST_CLASSES)] = 0
    shape: tuple[Annotated[int, Range(1, MOST_SAMPLES)], ...] = Field(
        default=(), strict=False, max_length=4
    )
    nominal_records: Annotated[int, Range(0, MOST_RECORDS)] = 0

    @field_validator("target", mode="before")
    @classmethod
    def _several(cls, given: object) -> object:
        return [given] if isinstance(given, str) else given

    @field_validator("test", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        lists = {k: v if isinstance(v, list | tuple) else [v] for k, v in given.items()}
        return {name: tuple(str(one) for one in values) for name, values in lists.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> "Data":
        if self.partition == "person" and not self.person:
            raise ValueError("partition = 'person' needs person = 'COLUMN': whose a record is")
        if len(set(self.target)) < len(self.target):
            raise ValueError(f"target = {list(self.target)}: a column is there twice")
        if len(self.target) > 1 and self.task != "labels":
            raise ValueError(
                f"target = {list(self.target)}: several columns are for task = 'labels'; "
                f"task = {self.task!r} reads one"
            )
        if self.partition in ("dirichlet", "shards") and self.task != "classes":
            raise ValueError(
                f"partition = {self.partition!r} spreads classes, and task = {self.task!r} has "
                "none; use iid or person"
            )
        if self.name != "file" and self.task != "classes":
            raise ValueError(f"task = {self.task!r} is for records of a file: name = 'file'")
        return self

    @property
    def source(self) -> "Data":
        """What decides which records there are, with everything else as nobody set it."""
        return _source_of(self)

    @property
    def spread(self) -> "Data":
        """What decides which records there are and who holds them, likewise."""
        return self._without("nominal_records", "shape")

    @property
    def public(self) -> "Data":
        """What devices with records of their own are told: nothing of where the server's own test
        records lie, and how they are read."""
        return self._without(
            "path", "test_path", "test", "test_share", "person", "pattern", "limit", "held_out"
        )

    def _without(self, *keys: str) -> "Data":
        defaults = {
            key: Data.model_fields[key].get_default(call_default_factory=True) for key in keys
        }
        return self.model_copy(update=defaults)

    def __hash__(self) -> int:
        """Of its text: it holds tables."""
        return hash(self.model_dump_json())


@lru_cache(maxsize=16)
def _source_of(data: Data) -> Data:
    """Once for all clients of a cohort, who are told the same."""
    spread = ("limit", "partition", "alpha", "shards", "held_out", "nominal_records")
    return data._without(*spread, "shape")


def is_hub(path: Path | str) -> bool:
    """Is it the name of a data set of the Hugging Face Hub?"""
    return str(path).startswith(HUB)


def is_table(path: Path | str) -> bool:
    """Is it called one?"""
    return str(path).lower().endswith(TABLES)


def holds_arrays(folder: Path) -> bool:
    """Is it a folder of train_x.npy and its like?"""
    return (folder / f"{ARRAYS[0]}.npy").is_file()
