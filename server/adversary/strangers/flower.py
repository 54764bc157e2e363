"""Flower's mods and strategies of differential privacy, as functions that an auditor can ask.

def strategy(noise_multiplier, clients):
    fedavg = FedAvg(min_train_nodes=1, min_available_nodes=1)
    return DifferentialPrivacyClientSideFixedClipping(fedavg, noise_multiplier, 1.0, clients)

make = of_strategy(strategy, update, first, rounds=10, mods=[fixedclipping_mod])
claims = Claims(x, y, noise_multiplier=1.0, sample_rate=1.0, steps=10, unit="client",
                divided="records")

There a record is what a client has, and all take part: Flower draws as many as it is told of those
who are there, which is no Poisson sample. Of LocalDpMod all records are one client's, whose update
may turn into any other: `claims_of` says what its settings come to.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from attacks.audit.steps.claims import Make
from privacy.errors import ModelError
from server.federation.grid import CohortGrid

Arrays = list[NDArray]
Update = Callable[
    [Arrays, Any, Any], Arrays
]  # weights, records, labels -> weights that were trained
ARRAYS, CONFIG = "arrays", "config"
PATIENCE = 3  # looks at who is there, of a strategy that waits for more


def of_strategy(
    strategy: Callable[[float, int], Strategy],
    update: Update,
    first: Arrays,
    *,
    rounds: int,
    noise_multiplier: float = 1.0,
    mods: Sequence[Callable[..., Message]] = (),
) -> Make:
    """A function for `audit_step`, of a strategy and the mods of its clients.

    Args:
        strategy: (noise multiplier, number of clients) -> what adds the noise.
        update: what a client does: (weights, its record, its label) -> weights.
        first: weights that all begin with.
        rounds, noise_multiplier: those of the training.
        mods: of the ClientApp; `fixedclipping_mod` and `adaptiveclipping_mod` for the strategies
            that leave clipping to clients.
    """

    def make(
        records: NDArray,
        labels: NDArray,
        seed: int,
        noise_multiplier: float = noise_multiplier,
        steps: int = rounds,
    ) -> dict[str, NDArray]:
        grid = _Here(_app(update, mods, list(zip(records, labels, strict=True))), len(records), 1)
        with _quiet(seed):
            chosen = strategy(noise_multiplier, len(records))
            if not noise_multiplier and hasattr(chosen, "clipped_count_stddev"):
                chosen.clipped_count_stddev = 0.0  # silence is asked for, of the norm as well
            norm, arrays = getattr(chosen, "clipping_norm", 1.0), ArrayRecord(first)
            for number in range(1, steps + 1):
                arrays = _round(chosen, grid, number, arrays)
        moved = _moved(first, arrays)
        if hasattr(chosen, "clipped_count_stddev"):  # a norm that adapts is released too
            moved["clipping norm"] = np.log([getattr(chosen, "clipping_norm", norm) / norm])
        return moved

    return make


def of_local_dp(mod: LocalDpMod, update: Update, first: Arrays, *, rounds: int = 1) -> Make:
    """A function for `audit_step`, of one client's replies behind LocalDpMod.

    Args:
        update: (weights, records, labels) -> weights.
        rounds: replies, each to the weights that all begin with.
    """
    told = claims_of(mod)["noise_multiplier"]

    def make(
        records: NDArray,
        labels: NDArray,
        seed: int,
        noise_multiplier: float = told,
        steps: int = rounds,
    ) -> dict[str, NDArray]:
        turned = copy.copy(mod)
        turned.sensitivity = mod.sensitivity * noise_multiplier / told
        grid = _Here(_app(update, [turned], [(records, labels)]), 1, 1)
        with _quiet(seed):
            sent = RecordDict({ARRAYS: ArrayRecord(first)})
            replies = [
                reply
                for _ in range(steps)
                for reply in grid.send_and_receive([Message(sent, 1, "train")])
            ]
        for reply in replies:
            _require_answer(reply)
        each = [_moved(first, reply.content.array_records[ARRAYS]) for reply in replies]
        return {name: np.sum([one[name] for one in each], 0) for name in each[0]}

    return make


def claims_of(mod: LocalDpMod, rounds: int = 1) -> dict[str, Any]:
    """What LocalDpMod's settings claim, for `Claims(x, y, **claims_of(mod))`."""
    deviation = mod.sensitivity * math.sqrt(2 * math.log(1.25 / mod.delta)) / mod.epsilon
    return {
        "noise_multiplier": deviation / mod.clipping_norm,
        "sample_rate": 1.0,
        "steps": rounds,
        "epsilon": rounds * mod.epsilon,
        "delta": rounds * mod.delta,
        "unit": "client",
        "neighbours": "replace all",
        "divided": "nothing",
    }


class _Here(CohortGrid):
    """Clients in this process, of whom a strategy may not wait for more."""

    looks = 0

    def get_node_ids(self) -> Iterable[int]:
        """All of them.

        Raises:
            ModelError: they were looked for again and again.
        """
        self.looks += 1
        if self.looks > PATIENCE:
            raise ModelError(
                f"the strategy waits for more than {self._num_clients} clients: the auditor tries "
                "few too; give it min_train_nodes=1, min_available_nodes=1"
            )
        return super().get_node_ids()


def _app(
    update: Update, mods: Sequence[Callable[..., Message]], held: Sequence[tuple[Any, Any]]
) -> ClientApp:
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        sent = message.content.array_records[ARRAYS]
        record, label = held[int(context.node_config["partition-id"])]
        trained = update(sent.to_numpy_ndarrays(), record, label)
        content = RecordDict(
            {
                ARRAYS: ArrayRecord(dict(zip(sent, ArrayRecord(trained).values(), strict=True))),
                "metrics": MetricRecord({"num-examples": 1}),
            }
        )
        return Message(content, reply_to=message)

    return app


def _round(strategy: Strategy, grid: _Here, number: int, arrays: ArrayRecord) -> ArrayRecord:
    grid.looks = 0
    sent = strategy.configure_train(number, arrays, ConfigRecord(), grid)
    replies = list(grid.send_and_receive(sent))
    for reply in replies:
        _require_answer(reply)
    made, _ = strategy.aggregate_train(number, replies)
    if made is None:
        raise ModelError("the strategy made nothing of its clients' replies")
    return made


def _require_answer(reply: Message) -> None:
    if reply.has_error():
        raise ModelError(f"a client answered with an error: {reply.error.reason}")


def _moved(first: Arrays, arrays: ArrayRecord) -> dict[str, NDArray]:
    ends = arrays.to_numpy_ndarrays()
    return {f"{i:03d}": end - start for i, (start, end) in enumerate(zip(first, ends, strict=True))}


@contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Flower draws from numpy's one generator, and tells of each round."""
    log, state = logging.getLogger("flwr"), np.random.get_state()
    level = log.level
    log.setLevel(logging.ERROR)
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
        log.setLevel(level)
