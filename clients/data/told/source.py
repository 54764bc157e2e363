"""Records in a file, read as their owner says and no server; and what a job may ask of them."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from clients.data.bounds import Schema
from clients.data.dataset import Dataset
from clients.data.sets import load
from clients.data.settings import MOST_RECORDS, Data
from clients.data.told.coverage import covered
from clients.protocol import Form
from privacy.errors import DataError, SettingsError
from privacy.settings import Range, Section


class Source(Section):
    """What a device's owner says of records in a file.

    Attributes:
        data: where they lie and how they are read: schema, target, windows, whose they are. Of a
            job none of that is taken: it could cut windows of one sample, read another column, or
            bring a pattern that never ends.
        record: the form of each.
        records: for training; what an update counts for. A round number says less than the count.
        covers: what an epsilon of them covers, for the owner's ledger.
    """

    data: Data
    record: Form
    records: Annotated[int, Range(1, MOST_RECORDS)]
    covers: str = ""

    def __str__(self) -> str:
        """In words, for the owner."""
        what = "x".join(map(str, self.record.shape))
        return (
            f"its schema; records of {what} numbers ({self.record.kind}), a model's "
            f"{self.record.outputs} outputs (task {self.data.task!r}), {self.records} for training"
        )

    @property
    def config(self) -> dict[str, str | int]:
        """For a node's config."""
        return {"data": self.data.path, "source": self.model_dump_json()}

    def form(self, asked: Data) -> Form:
        """What a job's model reads, and gives."""
        return self.record

    def source(self, asked: Data) -> Data:
        """What is read, whatever a job's [data] says."""
        return self.data

    def require(self, asked: Data) -> None:
        """Refuse a job's [data] that such records do not fit, without a look at them.

        Raises:
            SettingsError: names the key, and no more; its cause tells both sides, for the owner.
        """
        if asked.name != "file":
            raise SettingsError(
                f"[data] name = {asked.name!r}: this node's owner told of records with a schema; "
                "ask for a file's: name = 'file'"
            )
        for key, theirs, ours in self._both(asked):
            if theirs != ours:
                told = SettingsError(f"[data] {key}: a server asks {theirs!r}; here it is {ours!r}")
                raise SettingsError(
                    f"[data] {key.partition('.')[0]}: not what this node's owner told of its "
                    "records; ask the owner for it"
                ) from told

    def _both(self, asked: Data) -> Iterator[tuple[str, object, object]]:
        """All that a model's meaning hangs on: by name, as the job has it and as the owner does."""
        yield "task", asked.task, self.data.task
        yield "target", asked.target, self.data.target
        for key in ("length", "step"):
            yield f"windows.{key}", getattr(asked.windows, key), getattr(self.data.windows, key)
        theirs, ours = ((data.schema or Schema()).meaning for data in (asked, self.data))
        for key in dict.fromkeys([*theirs, *ours]):
            yield f"schema.{key}", theirs.get(key), ours.get(key)
        yield "classes", asked.classes or self.record.outputs, self.record.outputs
        yield "shape", asked.shape, self.record.shape

    def load(self, asked: Data) -> Dataset:
        """The records.

        Raises:
            DataError: they are not what their owner told of them.
        """
        dataset = load(self.data)
        if dataset.form != self.record:
            raise DataError(f"records are {dataset.form}, not {self.record} as was told")
        return dataset


def state(data: Data, records: int | None = None) -> Source:
    """Read a file's records, and say what servers may learn of them.

    Args:
        data: a file's, with its schema.
        records: to be told instead of the exact number; None tells that.

    Raises:
        DataError: they cannot be read, or do not fit their schema.
    """
    data = data.source
    dataset = load(data)
    most = 0
    if dataset.train_person is not None:
        most = int(np.unique(dataset.train_person.astype(str), return_counts=True)[1].max())
    told = len(dataset.train_y) if records is None else records
    return Source(data=data, record=dataset.form, records=told, covers=covered(data, most))
