"""What a cohort's replies come to: what may be aggregated, and Flower's aggregation of it.

Linear strategies use nothing of a cohort but the weighted mean of its updates. They get it as one
reply, summed up while the replies come in, so that a round of thousands holds a handful of them.
Under `unit = "client"` that mean is released with noise first: whatever a strategy makes of it
(learning rates, momentum, its memory) is computed from what has been released.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from clients.node.secure import flatten
from clients.training.arrays import (
    MOST_WEIGHT,
    FlatRecord,
    decode,
    held,
    is_within,
    record_of,
)
from clients.training.compression import Compression, size_bytes
from clients.training.flat import Parts, layout_of
from clients.training.job import Job
from clients.training.pruning import Pruning
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.clipping.quantile import Votes
from privacy.dp.clipping.split import Split, after
from privacy.dp.grid import Grid, Sum, fits
from privacy.dp.ledger import Ledger
from server.federation.strategies import is_linear
from server.run.directory import Weights

MOST_EXAMPLES = 1 << 40


class Update(NamedTuple):
    """A good reply: weights after training, what they count, what the device's data have spent."""

    weights: Mapping[str, NDArray]
    num_examples: int
    metrics: MetricRecord
    ledger: Ledger
    size_bytes: int


class Expected:
    """What a cohort's replies must be, found once for all of them.

    Args:
        weights: the global ones, from which they are trained.
    """

    def __init__(self, weights: Weights, compression: Compression, pruning: Pruning) -> None:
        self.weights, self._compression, self._pruning = weights, compression, pruning
        self._kept = pruning.squeeze(weights, weights)
        layout = layout_of(weights)
        plain = compression.bits == 32 and not pruning.final
        self._shapes = layout.shapes if layout and plain else None

    def unpack(self, reply: Message) -> Update:
        """Check a reply, part by part, before anything is made of it.

        Raises:
            ValueError: why it may not be aggregated.
        """
        if reply.has_error():
            raise ValueError(reply.error.reason)
        try:
            sent = record_of(reply.content, "arrays", ArrayRecord)
            metrics = record_of(reply.content, "metrics", MetricRecord)
            examples = metrics["num-examples"]
            spent = record_of(reply.content, "spent", ConfigRecord)
            ledger = Ledger.from_json(str(spent["ledger"]))
            parts = self._in_one(sent)
            weights = self._by_name(sent) if parts is None else parts
            size = size_bytes(sent) if parts is None else parts.flat.nbytes
        except (KeyError, ValueError, TypeError, MemoryError) as error:
            raise ValueError(f"rejected: {error}") from None
        if not isinstance(examples, int) or not 0 < examples < MOST_EXAMPLES:
            raise ValueError(f"rejected: num-examples = {examples}")
        return Update(weights, examples, metrics, ledger, size)

    def _in_one(self, sent: ArrayRecord) -> Parts | None:
        """A good update that a client of this process has one behind the other; else None."""
        if not isinstance(sent, FlatRecord) or sent.layout is None:
            return None
        if sent.layout.shapes != self._shapes or not is_within(sent.flat):
            return None
        return Parts(sent.flat, sent.layout, self.weights)

    def _by_name(self, sent: ArrayRecord) -> Weights:
        """Each array by itself, which an error can tell."""
        arrays = self._compression.unpack(sent, self._kept)
        if set(arrays) != set(self.weights):
            raise ValueError("other arrays than the model's")
        weights = {}
        for name, old in self._kept.items():  # some of Flower's strategies pair arrays by position
            weights[name] = value = decode(name, arrays[name], old.shape, old.dtype)
            if not is_within(value):
                raise ValueError(f"{name} is not finite, or beyond {MOST_WEIGHT:g}")
        return self._pruning.spread(weights, self.weights)


class Gathering(Protocol):
    """The updates of a round, on their way into a strategy; their order is part of the result."""

    num_updates: int

    def add(self, update: Update) -> None:
        """Take an update in."""

    def aggregate(self, number: int) -> ArrayRecord | None:
        """The strategy's global weights after round `number`; None if it has none."""


def gather(strategy: flower.Strategy, before: Weights, job: Job, planned: int) -> Gathering:
    """Where a round's updates go, by the unit of the job's budget.

    Args:
        before: the global weights that they were trained from.
        planned: clients of the cohort, whether they answer or not.
    """
    if job.budget.unit == "client":
        return Released(strategy, before, job, planned)
    return Gathered(strategy)


class Gathered:
    """Updates as they are: to a linear strategy as their weighted mean."""

    def __init__(self, strategy: flower.Strategy) -> None:
        self._strategy = strategy
        self._linear = is_linear(strategy)
        self._replies: list[Message] = []
        self._sums: Weights = {}
        self._whole: Parts | None = None  # the same, if the first update lay in one
        self._scratch: NDArray[np.float32] = np.empty(0, np.float32)
        self._num_examples = 0
        self.num_updates = 0

    def add(self, update: Update) -> None:
        """Take an update in."""
        self.num_updates += 1
        if not self._linear:
            update.metrics["num-examples"] = update.num_examples
            self._replies.append(_reply(update.weights, update.metrics))
            return
        self._num_examples += update.num_examples
        weights, count = update.weights, np.float64(update.num_examples)
        if isinstance(weights, Parts) and self._add_whole(weights, count):
            return
        for name, value in weights.items():
            if name in self._sums:
                self._sums[name] += value * count
            else:
                self._sums[name] = value * count

    def _add_whole(self, weights: Parts, count: np.float64) -> bool:
        """Add all arrays in one go, if those before were; what comes of it is the same."""
        if not self._sums:
            self._whole = Parts(weights.flat * count, weights.layout, tuple(weights))
            self._sums, self._scratch = dict(self._whole), np.empty_like(weights.flat)
        elif self._whole is None or self._whole.layout is not weights.layout:
            return False
        else:
            total = self._whole.flat
            total += np.multiply(weights.flat, count, out=self._scratch)
        return True

    def aggregate(self, number: int) -> ArrayRecord | None:
        """The strategy's global weights after round `number`; None if it has none."""
        replies: Iterable[Message] = self._replies
        if self._linear and self.num_updates:
            mean = {name: total / self._num_examples for name, total in self._sums.items()}
            replies = [_reply(mean, MetricRecord({"num-examples": self._num_examples}))]
        return self._strategy.aggregate_train(number, replies)[0]


class Released:
    """Updates under `unit = "client"`: the strategy receives their noisy mean and nothing else.

    Each change of the weights is clipped, their sum is exact, noise for one client is added to it,
    and the sum is divided by the number of clients that were planned: who fails is a zero. Where
    the clip follows a quantile, those within it are counted, by the clip that cut them, and noise
    of a key of its own is added to their number.

    Attributes:
        share: noisy, of updates within the clip, once it is released; None where nobody counts.

    Raises:
        ValueError: the strategy compares single updates, and would have one.
    """

    def __init__(self, strategy: flower.Strategy, before: Weights, job: Job, planned: int) -> None:
        if not is_linear(strategy):
            raise ValueError(f"{type(strategy).__name__} compares single updates")
        self._strategy, self._before, self._job, self._planned = strategy, before, job, planned
        self._start = flatten(before)
        self._sum = Sum(Grid.of(job.budget.clip, len(self._start)))
        self._votes = Votes(job.budget) if job.budget.clip_quantile else None
        self.share: float | None = None
        self.num_updates = 0

    def add(self, update: Update) -> None:
        """Take an update in, clipped; each counts alike."""
        self.num_updates += 1
        change = flatten(update.weights) - self._start
        self._sum.add(change)
        if self._votes:
            self._votes.add(fits(change, self._sum.grid))

    def aggregate(self, number: int) -> ArrayRecord | None:
        """The strategy's global weights after round `number`, from one noisy mean."""
        assert self._job.budget.noise_multiplier is not None
        sigma = Split.of(self._job.budget).of_sum
        mean = self._sum.mean(sigma, self._key(number), self._planned)
        if self._votes:
            key = self._key(number, "noise of the count", self._votes.total)
            self.share = self._votes.release(key, self._planned)
        reply = _reply(self._moved(mean), MetricRecord({"num-examples": self._planned}))
        return self._strategy.aggregate_train(number, [reply])[0]

    @property
    def next_budget(self) -> Budget:
        """Of the next round: its clip follows from what this one released."""
        budget = self._job.budget
        return budget if self.share is None else after(budget, budget.clip, self.share)

    def _key(self, number: int, of: str = "central noise", *more: int) -> Key:
        """Of this round's noise. Seeded, it is that of no other job, and of no other sum."""
        if self._job.training.noise != "seeded":
            return Key.secret()
        settings = hashlib.sha256(self._job.model_dump_json().encode()).digest()
        return Key.of(of, self._job.seed, number, settings, self._sum.digest, *more)

    def _moved(self, mean: NDArray[np.float64]) -> Weights:
        """The weights before, moved by the mean; in float64, as a mean of replies is."""
        flat, at, moved = self._start + mean, 0, {}
        for name in sorted(self._before):
            shape, size = self._before[name].shape, self._before[name].size
            moved[name] = flat[at : at + size].reshape(shape)
            at += size
        return {name: moved[name] for name in self._before}


def _reply(weights: Mapping[str, NDArray], metrics: MetricRecord) -> Message:
    content = RecordDict({"arrays": held(weights), "metrics": metrics})
    return Message(content, dst_node_id=0, message_type="train")
