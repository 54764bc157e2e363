"""A folder of grey pictures: what its owner tells of it, held against a job and the records."""

from pathlib import Path
from typing import Annotated

from clients.data.dataset import Dataset
from clients.data.formats import read_folder
from clients.data.sets import load
from clients.data.settings import MOST_CLASSES, MOST_RECORDS, MOST_SIDE, Data
from clients.protocol import Form
from privacy.errors import DataError, SettingsError
from privacy.settings import Range, Section


class Pictures(Section):
    """The form of a device's records.

    Attributes:
        data: the folder where they lie.
        classes: labels are 0 ... classes - 1, whether or not each of them occurs.
        height, width: of an image, in pixels.
        records: for training; what an update counts for. A round number says less than the count.
    """

    data: str
    classes: Annotated[int, Range(1, MOST_CLASSES)]
    height: Annotated[int, Range(1, MOST_SIDE)]
    width: Annotated[int, Range(1, MOST_SIDE)]
    records: Annotated[int, Range(1, MOST_RECORDS)]

    def __str__(self) -> str:
        """In words, for the owner."""
        return (
            f"labels under {self.classes}, images of {self.height}x{self.width}, {self.records} "
            "for training"
        )

    @property
    def config(self) -> dict[str, str | int]:
        """For a node's config."""
        return self.model_dump()

    def shape(self, data: Data) -> tuple[int, int]:
        """(H, W) of the images that a job's model reads."""
        return self.height - 2 * data.crop, self.width - 2 * data.crop

    def form(self, data: Data) -> Form:
        """What a job's model reads, and gives."""
        return Form(self.shape(data), data.classes)

    def source(self, data: Data) -> Data:
        """A job's data set, read from this folder, wherever the server points, with as many classes
        as the job's model has."""
        return data.model_copy(update={"path": self.data, "test_path": ""})

    def require(self, data: Data) -> None:
        """Refuse a job's [data] that such records cannot be, without a look at them.

        Raises:
            SettingsError: names the key.
        """
        if data.name == "file":
            raise SettingsError(
                "[data] name = 'file': this node's owner told of grey pictures; ask for those"
            )
        if data.classes < self.classes:
            raise SettingsError(
                f"[data] classes = {data.classes}: this node's owner told of {self.classes}"
            )
        if min(self.shape(data)) < 1:
            raise SettingsError(
                f"[data] crop = {data.crop}: leaves nothing of {self.height}x{self.width} images"
            )

    def load(self, data: Data) -> Dataset:
        """The records, as they are told of, or none at all.

        Raises:
            DataError: for the owner only: they have changed since.
        """
        dataset = load(self.source(data))
        if dataset.shape != self.shape(data):
            raise DataError(f"images are {dataset.shape}, not {self.shape(data)} as was told")
        for labels in (dataset.train_y, dataset.test_y):
            if len(labels) and labels.max() >= self.classes:
                raise DataError(f"a label is {labels.max()}, not under {self.classes} as was told")
        return dataset


def state(folder: Path, classes: int | None, records: int | None = None) -> Pictures:
    """Read a folder's records, and hold what their owner says of them against it.

    Args:
        classes: there may be more than occur in the folder; which do is nobody's business.
        records: to be told instead of the exact number; None tells that.

    Raises:
        DataError: the folder cannot be read, or has labels beyond the classes.
        SettingsError: the owner has not said how many classes there are.
    """
    arrays = read_folder(folder)
    found = int(max(arrays["train_y"].max(), arrays["test_y"].max(initial=0))) + 1
    if classes is None:
        raise SettingsError(
            f"--classes: missing; labels in {folder} go up to {found - 1}: say --classes {found}, "
            "or more if records elsewhere have more; servers may learn this number"
        )
    if found > classes:
        raise DataError(f"--classes {classes}: {folder} has a label {found - 1}; say {found}")
    num, height, width = arrays["train_x"].shape
    told = num if records is None else records
    return Pictures(
        data=str(folder.resolve()), classes=classes, height=height, width=width, records=told
    )
