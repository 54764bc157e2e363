"""Who holds which of a data set's training records."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from clients.data.sets import Data, load
from clients.seeds import derive
from privacy.errors import DataError


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
        return mine[~self.held_out[mine]]

    def non_members(self, client: int) -> NDArray[np.int64]:
        """Indices of the records that `client` keeps aside."""
        mine = self._of(client)
        return mine[self.held_out[mine]]

    def _of(self, client: int) -> NDArray[np.int64]:
        order, starts = self._by_owner
        return order[starts[client] : starts[client + 1]]

    @cached_property
    def _by_owner(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Records sorted by owner, and where each owner's begin: made once for all clients."""
        order = np.argsort(self.owner, kind="stable")
        return order, np.searchsorted(self.owner[order], np.arange(self.owner.max() + 2))


@lru_cache(maxsize=4)
def partition(data: Data, num_clients: int, seed: int) -> Partition:
    """Spread the training records over clients; no record has two owners.

    Raises:
        DataError: some client would have no record to train on.
    """
    y = load(data).train_y
    if data.partition == "nodes":
        return Partition(np.full(len(y), -1, dtype=np.int32), np.zeros(len(y), dtype=bool))
    if data.limit > len(y):
        raise DataError(f"[data] limit = {data.limit}: {data.name} has {len(y)} training records")
    rng = np.random.default_rng(derive(seed, "partition"))
    pool = rng.permutation(len(y))[: data.limit or len(y)]
    if num_clients > len(pool):
        raise DataError(
            f"[federation] clients = {num_clients}: more clients than the {len(pool)} records of "
            f"{data.name}; ask for fewer"
        )
    owner = np.full(len(y), -1, dtype=np.int32)
    held_out = np.zeros(len(y), dtype=bool)
    for client, mine in enumerate(_SPREAD[data.partition](data, y, pool, num_clients, rng)):
        aside = round(len(mine) * data.held_out)
        if len(mine) <= aside:
            raise DataError(
                f"[data] partition = {data.partition!r}: client {client} has {len(mine)} records "
                f"to train on; ask for fewer clients, a larger alpha or a smaller held_out"
            )
        mine = rng.permutation(mine)
        owner[mine] = client
        held_out[mine[:aside]] = True
    return Partition(owner, held_out)


def _iid(
    data: Data, y: NDArray, pool: NDArray, num_clients: int, rng: np.random.Generator
) -> list[NDArray]:
    return np.array_split(pool, num_clients)


def _dirichlet(
    data: Data, y: NDArray, pool: NDArray, num_clients: int, rng: np.random.Generator
) -> list[NDArray]:
    shares: list[list[NDArray]] = [[] for _ in range(num_clients)]
    for label in np.unique(y[pool]):
        records = pool[y[pool] == label]
        cuts = np.cumsum(rng.dirichlet([data.alpha] * num_clients))[:-1] * len(records)
        for share, piece in zip(shares, np.split(records, cuts.astype(int)), strict=True):
            share.append(piece)
    return [np.concatenate(share) for share in shares]


def _shards(
    data: Data, y: NDArray, pool: NDArray, num_clients: int, rng: np.random.Generator
) -> list[NDArray]:
    by_label = pool[np.argsort(y[pool], kind="stable")]
    pieces = np.array_split(by_label, num_clients * data.shards)
    order = rng.permutation(len(pieces)).reshape(num_clients, data.shards)
    return [np.concatenate([pieces[i] for i in row]) for row in order]


_SPREAD = {"iid": _iid, "dirichlet": _dirichlet, "shards": _shards}
