"""Who holds which of a data set's training records."""

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clients.data.dataset import Partition as Partition
from clients.data.sets import load
from clients.data.settings import Data
from clients.seeds import derive
from privacy.errors import DataError

BLOCK = 8  # of overlapping windows, in their own number


@lru_cache(maxsize=4)
def partition(data: Data, num_clients: int, seed: int) -> Partition:
    """Spread the training records over clients; no record has two owners.

    Raises:
        DataError: some client would have no record to train on.
    """
    return _partition(data.spread, num_clients, seed)


@lru_cache(maxsize=4)
def _partition(data: Data, num_clients: int, seed: int) -> Partition:
    dataset = load(data)
    y = dataset.train_y
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
    if data.partition == "person":
        assert dataset.train_person is not None
        for client, mine in enumerate(_persons(data, dataset.train_person, pool, num_clients)):
            owner[mine] = client
            held_out[_aside(data, dataset.train_person, mine, client, rng)] = True
        return Partition(owner, held_out)
    pieces = _SPREAD[data.partition](data, y, pool, num_clients, rng)
    sizes = np.fromiter(map(len, pieces), dtype=np.int64, count=num_clients)
    asides = np.rint(sizes * data.held_out).astype(np.int64)
    if len(without := np.flatnonzero(sizes <= asides)):
        client = int(without[0])
        raise DataError(
            f"[data] partition = {data.partition!r}: client {client} has no record to train "
            f"on, of {sizes[client]}; ask for {_REMEDIES[data.partition]}"
        )
    dealt = np.concatenate([rng.permutation(mine) if len(mine) > 1 else mine for mine in pieces])
    owner[dealt] = np.repeat(np.arange(num_clients, dtype=np.int32), sizes)
    place = np.arange(len(dealt)) - np.repeat(sizes.cumsum() - sizes, sizes)  # in one's own
    held_out[dealt[place < np.repeat(asides, sizes)]] = True
    return Partition(owner, held_out)


def _persons(data: Data, person: NDArray, pool: NDArray, num_clients: int) -> list[NDArray]:
    """Whole persons to each client: the largest first, to whoever has fewest records.

    Raises:
        DataError: more clients than persons.
    """
    mine = np.sort(pool)
    names, first, back = np.unique(person[mine].astype(str), return_index=True, return_inverse=True)
    if num_clients > len(names):
        raise DataError(
            f"[federation] clients = {num_clients}: the records are of {len(names)} persons "
            f"([data] person = {data.person!r}), and clients hold whole ones; ask for "
            f"clients = {len(names)} or fewer"
        )
    if num_clients == len(names):  # in the order in which they come
        return [mine[back == name] for name in np.argsort(first)]
    sizes = np.bincount(back)
    held: list[list[int]] = [[] for _ in range(num_clients)]
    load_of = np.zeros(num_clients, dtype=np.int64)
    for name in np.argsort(-sizes, kind="stable"):
        client = int(load_of.argmin())
        held[client].append(int(name))
        load_of[client] += sizes[name]
    return [mine[np.isin(back, which)] for which in held]


def _aside(
    data: Data, person: NDArray, mine: NDArray, client: int, rng: np.random.Generator
) -> NDArray:
    """What a client of whole persons never trains on: whole persons, if it has enough of them.

    Else records at random, so that they differ from the others in nothing but that; where windows
    overlap, in blocks, few of which share samples with others.
    """
    names = np.unique(person[mine].astype(str))
    if data.held_out and len(names) >= 1 / data.held_out:
        groups = person[mine].astype(str)
    else:
        overlap = math.ceil(data.windows.length / data.windows.step)
        groups = np.arange(len(mine)) // (1 if overlap <= 1 else BLOCK * overlap)
    num = round(len(mine) * data.held_out)
    names, sizes = np.unique(groups, return_counts=True)
    order = rng.permutation(len(names))
    chosen = order[: int(np.searchsorted(sizes[order].cumsum(), num, side="right"))]
    if len(chosen) == len(names):
        raise DataError(
            f"[data] partition = 'person': client {client} has {len(mine)} records, and none would "
            "be left to train on; ask for fewer clients, or a smaller held_out"
        )
    return mine[np.isin(groups, names[chosen])]


def _iid(
    data: Data, y: NDArray, pool: NDArray, num_clients: int, rng: np.random.Generator
) -> list[NDArray]:
    """`np.array_split`, which is slow for a million clients."""
    cuts = np.arange(num_clients + 1) * (len(pool) // num_clients)
    cuts += np.minimum(np.arange(num_clients + 1), len(pool) % num_clients)
    return [pool[start:end] for start, end in pairwise(cuts.tolist())]


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
_REMEDIES = {
    "iid": "fewer clients, or a smaller held_out",
    "dirichlet": "fewer clients, a larger alpha or a smaller held_out",
    "shards": "fewer clients, fewer shards or a smaller held_out",
}
