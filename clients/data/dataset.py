"""A data set in memory: records in a compact type, what they are, and who holds them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clients.data.encodings import PIXELS, Encoding, Scaled
from clients.protocol import Form


@dataclass(frozen=True, eq=False)
class Dataset:
    """Records [N, ...], and what a model is to say of each; the test set belongs to no client.

    Attributes:
        train_y, test_y: labels [N], whole numbers 0 ... num_classes - 1; under other tasks
            float32 [N, outputs], or nothing where a record stands for itself.
        encoding: makes a model's inputs of records.
        num_classes: outputs of a model.
        kind, columns, rate_hz: as in `Form`.
        names: of the classes or targets, for people; empty where they are numbers alone.
        train_person, test_person: text [N], whose each record is; None where nobody says.
        counts: what was clipped, missing or left out: for the owner.
    """

    name: str
    train_x: NDArray
    train_y: NDArray
    test_x: NDArray
    test_y: NDArray
    sha256: str
    num_classes: int
    encoding: Encoding = PIXELS
    task: str = "classes"
    kind: str = "picture"
    columns: tuple[int, ...] = ()
    rate_hz: float = 0.0
    names: tuple[str, ...] = ()
    train_person: NDArray | None = None
    test_person: NDArray | None = None
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record's inputs."""
        if self.columns:
            return (sum(self.columns),)
        return tuple(self.train_x.shape[1:])

    @property
    def scale(self) -> float:
        """What a pixel's value stands for 1."""
        return self.encoding.scale if isinstance(self.encoding, Scaled) else 1.0

    @property
    def form(self) -> Form:
        """What a model reads of a record, and gives."""
        about = (self.kind, self.columns, self.rate_hz, self.task == "itself")
        return Form(self.shape, self.num_classes, *about)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Partition:
    """Which client owns which training record: the manifest of members and non-members.

    Attributes:
        owner: int32 [N], the client of each record, -1 for a record that nobody has, or of which
            only a device knows.
        held_out: bool [N], records which their owner never trains on.
    """

    owner: NDArray[np.int32]
    held_out: NDArray[np.bool_]

    def members(self, client: int) -> NDArray[np.int64]:
        """Indices of the records that `client` trains on."""
        mine = self._of(client)
        return mine[~self.held_out[mine]] if self._holds_out else mine

    def non_members(self, client: int) -> NDArray[np.int64]:
        """Indices of the records that `client` keeps aside."""
        mine = self._of(client)
        return mine[self.held_out[mine]]

    @property
    def largest(self) -> int:
        """Records of the client that trains on most; 0 where nobody has any."""
        mine = self.owner[(self.owner >= 0) & ~self.held_out]
        return int(np.bincount(mine).max()) if len(mine) else 0

    def most_of(self, person: NDArray | None) -> int:
        """Records of whoever has most of those that are trained on; 0 where nobody says whose."""
        mine = (self.owner >= 0) & ~self.held_out
        if person is None or not mine.any():
            return 0
        return int(np.unique(person[mine].astype(str), return_counts=True)[1].max())

    @cached_property
    def _holds_out(self) -> bool:
        return bool(self.held_out.any())

    def _of(self, client: int) -> NDArray[np.int64]:
        order, starts = self._by_owner
        return order[starts[client] : starts[client + 1]]

    @cached_property
    def _by_owner(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Records sorted by owner, and where each owner's begin: made once for all clients."""
        order = np.argsort(self.owner, kind="stable")
        return order, np.searchsorted(self.owner[order], np.arange(self.owner.max() + 2))
