"""Records that a model was trained on, and others that it was not: each from numpy's npz.

`x` [N, ...] as the model reads them, `y` their labels or targets, and `person` [N], if it is known
whose each is.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.tape import Bools, Sample
from clients.data.formats import read_archive
from clients.training.losses import LOSSES
from privacy.errors import DataError

LEAST = 10  # of either kind, under which no figure tells anything
LEAST_CLASSES = 2


@dataclass(frozen=True, eq=False)
class Asked:
    """Members and others, in one row.

    Attributes:
        sample: as attacks read them. member: bool [N].
        person: int64 [N]; None where nobody says.
        shared: how many of the others are members' records too, number by number.
    """

    sample: Sample
    x: Tensor
    member: Bools
    person: NDArray[np.int64] | None
    shared: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record."""
        return tuple(self.x.shape[1:])

    @property
    def outputs(self) -> int:
        """How many numbers a model must give for such labels or targets, at the least."""
        if self.sample.task == "itself":
            return int(np.prod(self.shape))
        y = self.sample.y
        return max(LEAST_CLASSES, int(y.max()) + 1) if y.dim() == 1 else y.shape[1]


def read_asked(members: Path, others: Path, task: str = "classes") -> Asked:
    """Both files.

    Args:
        task: classes, labels, number or itself.

    Raises:
        DataError: names the file, and what of it does not fit.
    """
    parts = [_read(path, task) for path in (members, others)]
    (x_in, y_in, who_in), (x_out, y_out, who_out) = parts
    if (x_in.shape[1:], y_in.shape[1:]) != (x_out.shape[1:], y_out.shape[1:]):
        raise DataError(
            f"{others}: x {list(x_out.shape)} and y {list(y_out.shape)}, and {members} has "
            f"{list(x_in.shape)} and {list(y_in.shape)}; give records of one kind"
        )
    for path, x in ((members, x_in), (others, x_out)):
        if len(x) < LEAST:
            raise DataError(f"{path}: {len(x)} records; an attack needs {LEAST} of each kind")
    x, y = torch.cat([x_in, x_out]), torch.cat([y_in, y_out])
    person = None
    if who_in is not None and who_out is not None:
        names = np.concatenate([who_in.astype(str), who_out.astype(str)])
        person = np.unique(names, return_inverse=True)[1].astype(np.int64)
    known = {row.tobytes() for row in x_in.numpy()}
    return Asked(
        sample=Sample(lambda i: x[i], y, lambda i: x[i], LOSSES[task], task),
        x=x,
        member=np.arange(len(x)) < len(x_in),
        person=person,
        shared=sum(row.tobytes() in known for row in x_out.numpy()),
    )


def _read(path: Path, task: str) -> tuple[Tensor, Tensor, NDArray | None]:
    needed = ("x",) if task == "itself" else ("x", "y")
    arrays = read_archive(path, ("x", "y", "person"), needed, "give fewer records")
    x = arrays["x"]
    y = arrays.get("y", np.zeros((len(x) if x.ndim else 0, 0)))
    for name, array in (("x", x), ("y", y), ("person", arrays.get("person", y))):
        if array.ndim < 1 or len(array) != len(x):
            raise DataError(f"{path}: {name} {list(array.shape)} does not fit x {list(x.shape)}")
    for name, array in (("x", x), ("y", y)):
        if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
            raise DataError(f"{path}: {name} is {array.dtype}; must be finite numbers alone")
    if x.ndim < 2:
        raise DataError(f"{path}: x {list(x.shape)}; must be [N, ...], as the model reads them")
    return (
        torch.from_numpy(x.astype(np.float32)), _targets(path, y, task), arrays.get("person")
    )  # fmt: skip


def _targets(path: Path, y: NDArray, task: str) -> Tensor:
    """Labels int64 [N], or targets float32 [N, K]."""
    if task == "classes":
        if y.ndim != 1 or (y != np.round(y)).any() or (y < 0).any():
            raise DataError(
                f"{path}: y {y.dtype} {list(y.shape)}; must be the number of each record's class, "
                "[N], from 0; or say --task"
            )
        return torch.from_numpy(y.astype(np.int64))
    rows = y[:, None] if y.ndim == 1 else y
    if rows.ndim != 2 or (task == "number" and rows.shape[1] != 1):
        raise DataError(f"{path}: y {list(y.shape)} does not fit --task {task}")
    if task == "labels" and not np.isin(rows, (0, 1)).all():
        raise DataError(f"{path}: y must be 0 or 1 for each label under --task labels")
    return torch.from_numpy(rows.astype(np.float32))
