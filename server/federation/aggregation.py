"""What a cohort's replies come to: what may be aggregated, and Flower's aggregation of it.

Linear strategies use nothing of a cohort but the weighted mean of its updates. They get it as one
reply, summed up while the replies come in, so that a round of thousands holds a handful of them.
"""

import secrets
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from clients.seeds import derive
from clients.training.arrays import MOST_WEIGHT, decode, held, is_within
from clients.training.compression import Compression, size_bytes
from clients.training.job import Job
from privacy.dp.ledger import Ledger
from privacy.dp.noise import SECURE
from server.federation.strategies import is_linear, moved
from server.run.directory import Weights

CENTRAL = flower.DifferentialPrivacyServerSideFixedClipping
MOST_EXAMPLES = 1 << 40
STATE_BYTES = 2496  # of numpy's generator


class Update(NamedTuple):
    """A good reply: weights after training, what they count, what the device's data have spent."""

    weights: Weights
    num_examples: int
    metrics: MetricRecord
    ledger: Ledger
    size_bytes: int


def noise_seed(job: Job) -> int | None:
    """Of the server's noise; None where `[training] noise` is to be secure."""
    return None if job.training.noise == SECURE else job.seed


def unpack(reply: Message, expected: Weights, compression: Compression) -> Update:
    """Check a reply, part by part, before anything is made of it.

    Args:
        expected: the global weights that it was trained from.

    Raises:
        ValueError: why it may not be aggregated.
    """
    if reply.has_error():
        raise ValueError(reply.error.reason)
    try:
        sent = reply.content.array_records["arrays"]
        metrics = reply.content.metric_records["metrics"]
        examples = metrics["num-examples"]
        ledger = Ledger.from_json(str(reply.content.config_records["spent"]["ledger"]))
        arrays = compression.unpack(sent, expected)
        if set(arrays) != set(expected):
            raise ValueError("other arrays than the model's")
        weights = {}
        for name, old in expected.items():  # some of Flower's strategies pair arrays by position
            weights[name] = value = decode(name, arrays[name], old.shape, old.dtype)
            if not is_within(value):
                raise ValueError(f"{name} is not finite, or beyond {MOST_WEIGHT:g}")
    except (KeyError, ValueError, TypeError, MemoryError) as error:
        raise ValueError(f"rejected: {error}") from None
    if not isinstance(examples, int) or not 0 < examples < MOST_EXAMPLES:
        raise ValueError(f"rejected: num-examples = {examples}")
    return Update(weights, examples, metrics, ledger, size_bytes(sent))


class Gathered:
    """The updates of a round, on their way into a strategy.

    Args:
        equals: each update counts as one example.
    """

    def __init__(self, strategy: flower.Strategy, *, equals: bool = False) -> None:
        self._strategy, self._equals = strategy, equals
        self._linear = is_linear(strategy)
        self._replies: list[Message] = []
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._num_examples = 0
        self.num_updates = 0

    def add(self, update: Update) -> None:
        """Take an update in; the order of updates is part of the result."""
        num_examples = 1 if self._equals else update.num_examples
        self.num_updates += 1
        if not self._linear:
            if isinstance(self._strategy, CENTRAL):
                before = {n: a.numpy() for n, a in self._strategy.current_arrays.items()}
                update = update._replace(weights=moved(update.weights, before))
            update.metrics["num-examples"] = num_examples
            self._replies.append(_reply(update.weights, update.metrics))
            return
        self._num_examples += num_examples
        for name, value in update.weights.items():
            if name in self._sums:
                self._sums[name] += value * np.float64(num_examples)
            else:
                self._sums[name] = value * np.float64(num_examples)

    def aggregate(self, number: int, seed: int | None) -> ArrayRecord | None:
        """The strategy's global weights after round `number`; None if it has none.

        Under `unit = "client"` with Flower's clip and noise, which numpy's own generator draws.

        Args:
            seed: of that noise; None for one of the operating system's, which nobody knows.
        """
        if isinstance(self._strategy, CENTRAL):
            self._strategy.num_sampled_clients = self.num_updates
            if seed is None:
                np.random.seed(np.frombuffer(secrets.token_bytes(STATE_BYTES), np.uint32))
            else:
                np.random.seed(derive(seed, "central-noise", number) % (1 << 32))
        replies: Iterable[Message] = self._replies
        if self._linear and self.num_updates:
            mean = {name: total / self._num_examples for name, total in self._sums.items()}
            replies = [_reply(mean, MetricRecord({"num-examples": self._num_examples}))]
        return self._strategy.aggregate_train(number, replies)[0]


def _reply(weights: Weights, metrics: MetricRecord) -> Message:
    content = RecordDict({"arrays": held(weights), "metrics": metrics})
    return Message(content, dst_node_id=0, message_type="train")
