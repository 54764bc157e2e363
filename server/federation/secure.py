"""One round behind secure aggregation: the phases as Flower messages, and the sum that is left.

The server sends terms, passes on public keys and sealed boxes, adds what it cannot read as it
comes, and learns the sum of those who survived. It holds no secret: privacy.sums.masking and
privacy.sums.sum_keys belong to the devices.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from clients.node.replies import REFUSED
from clients.node.secure import SUM, flatten
from privacy.dp.ledger import Ledger
from privacy.errors import SecureSumFailed
from privacy.sums.boxes import KEY_BYTES
from privacy.sums.terms import Terms
from server.federation.schemes import SCHEMES, Scheme
from server.run.directory import Weights

See = Callable[[int, Weights], None]  # a client, and its masked words read as weights
Told = Mapping[str, Any]
T = TypeVar("T")


@dataclass
class Seen:
    """What the server saw of a round.

    Attributes:
        single_updates: of how many clients it could read the update. Zero, or this is a lie.
        survivors: whose updates are in the sum.
        lost: by phase, who did not answer it.
        examples: the weight of all survivors; of a single one it is not known.
        cut: numbers outside the range, over all survivors.
        up_bytes, down_bytes: of all clients and phases, without Flower's envelope.
    """

    scheme: str
    members: int
    needed: int
    degree: int
    single_updates: int = 0
    survivors: list[int] = field(default_factory=list)
    lost: dict[str, list[int]] = field(default_factory=dict)
    examples: int = 0
    cut: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For the round's record."""
        return asdict(self)


class SecureSum:
    """The server in one round.

    Args:
        grid: reaches the clients.
        nodes: the grid's node of each member.
        weights: global weights.
        see: told of each masked update; for tests of what a server can read from them.
    """

    def __init__(
        self, grid: Grid, nodes: dict[int, int], terms: Terms, timeout_s: float, see: See | None
    ) -> None:
        self._grid, self._nodes, self._timeout_s, self._see = grid, nodes, timeout_s, see
        self.terms = terms
        self.failures: dict[int, tuple[str, bool]] = {}
        self.up_bytes = dict.fromkeys(nodes, 0)
        self.replies: dict[int, Message] = {}
        self.seen = Seen(terms.scheme, len(nodes), terms.survivors, terms.degree)

    def run(self, messages: list[Message], weights: Weights) -> Weights:
        """All phases; the new global weights, if the mean of updates is taken as it is.

        Args:
            messages: Flower's, to train, one for each member.

        Raises:
            SecureSumFailed: too few survived a phase, or they could not agree. The server has then
                learnt nothing of any update.
        """
        terms_text = self.terms.model_dump_json()
        self.publics = self.ask("keys", {c: {"terms": terms_text} for c in self._nodes}, _publics)
        self.require_enough("keys", self.publics)
        scheme = SCHEMES[self.terms.scheme](self.terms)
        prepared = scheme.prepare(self)
        survivors = self._collect(scheme, messages, prepared, weights)
        total = scheme.open(self, survivors)
        mean, examples, cut = self.terms.grid.decode(total)
        self.seen.survivors, self.seen.examples, self.seen.cut = survivors, examples, cut
        self.seen.up_bytes = sum(self.up_bytes.values())
        if not 0 < examples <= len(survivors) * self.terms.most_examples:
            raise SecureSumFailed("the sum makes no sense: a member spoilt it")
        # A client is there or not: where that is to be hidden, those that were planned are counted.
        divisor = len(self.terms.members) if self.terms.clip else examples
        return moved(weights, mean / divisor)

    def ask(self, phase: str, told: Mapping[int, Told], read: Callable[[Told], T]) -> dict[int, T]:
        """One `query` to each client; what is read of the answers that are as they should be.

        Args:
            read: raises KeyError, TypeError or ValueError for one that is not.
        """
        contents = {
            client: RecordDict({SUM: ConfigRecord({"digest": self.terms.digest, **fields})})
            for client, fields in told.items()
        }
        self.seen.down_bytes += sum(_size(fields) for fields in told.values())
        answers: dict[int, T] = {}
        messages = [
            Message(content, self._nodes[client], f"query.{phase}")
            for client, content in contents.items()
        ]
        for client, reply in self._exchange(phase, messages):
            try:
                fields: Told = reply.content.config_records[SUM]
                answers[client] = read(fields)
                self.up_bytes[client] += _size(fields)
            except (KeyError, TypeError, ValueError, SecureSumFailed) as error:
                self._fail(client, phase, f"rejected: {error}")
        return answers

    def _collect(
        self,
        scheme: Scheme,
        messages: list[Message],
        prepared: Mapping[int, Told],
        weights: Weights,
    ) -> list[int]:
        """Phase 3: train, and add what comes."""
        client_of = {node: client for client, node in self._nodes.items()}
        sent = []
        for message in messages:
            client = client_of[message.metadata.dst_node_id]
            if client not in prepared:
                continue
            fields = {"digest": self.terms.digest, **prepared[client]}
            self.seen.down_bytes += _size(fields)
            content = RecordDict({**message.content, SUM: ConfigRecord(fields)})
            sent.append(Message(content, message.metadata.dst_node_id, "train"))
        survivors = []
        for client, reply in self._exchange("train", sent):
            try:
                told = reply.content.config_records[SUM]
                Ledger.from_json(str(reply.content.config_records["spent"]["ledger"]))
                if told["digest"] != self.terms.digest:
                    raise ValueError("an update of another sum")
                words = scheme.add(client, reply.content)
            except (KeyError, ValueError, TypeError) as error:
                self._fail(client, "train", f"rejected: {error}")
                continue
            if words is not None:
                self.up_bytes[client] += words.nbytes
                if self._see:
                    read = self.terms.grid.decode(words)[0] / self.terms.most_examples
                    self._see(client, moved(weights, read))
            else:
                self.up_bytes[client] += _size(told)
            reply.content = RecordDict({"spent": reply.content.config_records["spent"]})
            self.replies[client] = reply
            survivors.append(client)
        self.require_enough("train", survivors)
        return sorted(survivors)

    def _exchange(self, phase: str, messages: list[Message]) -> Iterator[tuple[int, Message]]:
        """Good replies as they come; one that nobody asked for is not looked at."""
        started = time.perf_counter()
        client_of = {node: client for client, node in self._nodes.items()}
        waiting = {client_of[message.metadata.dst_node_id] for message in messages}
        for reply in self._grid.send_and_receive(messages, timeout=self._timeout_s):
            client = client_of.get(reply.metadata.src_node_id)
            if client not in waiting:
                continue
            waiting.discard(client)
            if reply.has_error():
                self._fail(client, phase, str(reply.error.reason), reply.error.code == REFUSED)
            else:
                yield client, reply
        for client in sorted(waiting):
            self._fail(client, phase, "no reply in time")
        self.seen.seconds[phase] = time.perf_counter() - started

    def _fail(self, client: int, phase: str, reason: str, refused: bool = False) -> None:
        self.failures.setdefault(client, (f"{phase}: {reason}", refused))
        self.seen.lost.setdefault(phase, []).append(client)

    def require_enough(self, phase: str, left: Collection[int]) -> None:
        """Raises SecureSumFailed where too few are left."""
        if len(left) < self.terms.survivors:
            first = next(iter(self.failures.items()), None)
            because = f" (client {first[0]}: {first[1][0]})" if first else ""
            raise SecureSumFailed(
                f"secure aggregation: {len(left)} of {len(self.terms.members)} clients are left "
                f"after {phase!r}, {self.terms.survivors} are needed; no update was revealed"
                f"{because}"
            )


def moved(weights: Weights, update: np.ndarray) -> Weights:
    """Weights with an update [D] added: `clients.node.secure.flatten` backwards."""
    flat = flatten(weights) + update
    moved, at = {}, 0
    for name in sorted(weights):
        old = weights[name]
        moved[name] = flat[at : at + old.size].reshape(old.shape).astype(old.dtype)
        at += old.size
    return {name: moved[name] for name in weights}


def _publics(told: Told) -> bytes:
    """Public keys that a client told, one after another."""
    if len(told["publics"]) not in (KEY_BYTES, 2 * KEY_BYTES):
        raise ValueError("not public keys")
    return bytes(told["publics"])


def _size(fields: Mapping[str, Any]) -> int:
    """Bytes of what a record holds."""
    total = 0
    for value in fields.values():
        for item in value if isinstance(value, list) else [value]:
            total += len(item) if isinstance(item, bytes | str) else 8
    return total
