"""One sum behind secure aggregation: the phases as Flower messages, and the sum that is left.

The server sends terms, passes on public keys and sealed boxes, adds what it cannot read as it
comes, and learns the sum of those who survived. It holds no secret: privacy.sums.masking and
privacy.sums.sum_keys belong to the devices.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from clients.node.replies import REFUSED
from clients.node.secure import SUM, flatten
from privacy.dp.ledger import Ledger
from privacy.errors import SecureSumFailed
from privacy.sums.boxes import KEY_BYTES, SIGNATURE_BYTES, exchange, unpack_rows
from privacy.sums.masks import PUBLIC_BYTES
from privacy.sums.terms import Terms
from server.federation.schemes import SCHEMES, Public, Scheme
from server.run.directory import Weights

PROBE = X25519PrivateKey.generate()

See = Callable[[int, Weights], None]  # a client, and its masked words read as weights
Told = Mapping[str, Any]
T = TypeVar("T")


@dataclass
class Seen:
    """What the server saw of a sum, or of all sums of a round.

    Attributes:
        sums: how many; each client is in one of them.
        single_updates: of how many clients it could read the update. Zero, or this is a lie.
        signed: members whose keys were signed, so that others can tell them from the server's own.
        survivors: whose updates are in the sum.
        liars: who told another part than it was dealt, or dealt what is none.
        lost: by phase, who did not answer it.
        examples: the weight of all survivors; of a single one it is not known.
        cut: numbers outside the range, over all survivors.
        up_bytes, down_bytes: of all clients and phases, without Flower's envelope.
    """

    scheme: str
    members: int
    needed: int
    degree: int
    sums: int = 1
    single_updates: int = 0
    signed: int = 0
    survivors: list[int] = field(default_factory=list)
    liars: list[int] = field(default_factory=list)
    lost: dict[str, list[int]] = field(default_factory=dict)
    examples: int = 0
    cut: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For the round's record."""
        return asdict(self)

    def __add__(self, other: "Seen") -> "Seen":
        """Both together; of what each client needs, the lesser."""
        phases = {*self.lost, *other.lost}
        return Seen(
            scheme=self.scheme,
            members=self.members + other.members,
            needed=min(self.needed, other.needed),
            degree=min(self.degree, other.degree),
            sums=self.sums + other.sums,
            single_updates=self.single_updates + other.single_updates,
            signed=self.signed + other.signed,
            survivors=sorted(self.survivors + other.survivors),
            liars=sorted(self.liars + other.liars),
            lost={p: sorted(self.lost.get(p, []) + other.lost.get(p, [])) for p in phases},
            examples=self.examples + other.examples,
            cut=self.cut + other.cut,
            up_bytes=self.up_bytes + other.up_bytes,
            down_bytes=self.down_bytes + other.down_bytes,
            seconds=dict(Counter(self.seconds) + Counter(other.seconds)),
        )


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
        self.publics: dict[int, Public] = {}
        self.liars: set[int] = set()
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
        read = partial(_public, terms=self.terms)
        self.publics = self.ask("keys", {c: {"terms": terms_text} for c in self._nodes}, read)
        self.require_enough("keys", self.publics)
        self.seen.signed = sum(bool(public.signature) for public in self.publics.values())
        scheme = SCHEMES[self.terms.scheme](self.terms)
        prepared = scheme.prepare(self)
        survivors = self._collect(scheme, messages, prepared, weights)
        total = scheme.open(self, survivors)
        mean, examples, cut = self.terms.grid.decode(total)
        self.seen.survivors, self.seen.examples, self.seen.cut = survivors, examples, cut
        self.seen.liars = sorted(self.liars)
        self.seen.up_bytes = sum(self.up_bytes.values())
        if not self._makes_sense(mean, examples, len(survivors)):
            raise SecureSumFailed("the sum makes no sense: a member spoilt it")
        # A client is there or not: where that is to be hidden, those that were planned are counted.
        divisor = len(self.terms.members) if self.terms.clip else examples
        return moved(weights, mean / divisor)

    def _makes_sense(self, total: np.ndarray, examples: int, survivors: int) -> bool:
        """Can updates of which each keeps to the range and to its weight come to this sum?"""
        terms = self.terms
        if not survivors <= examples <= survivors * terms.most_examples:
            return False
        most = examples * terms.value_range + survivors / terms.scale
        return bool(terms.clip) or bool(np.abs(total).max() <= most)  # noise has no range

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


def _public(told: Told, terms: Terms) -> Public:
    """Public keys that a client told, by which others can seal and mask; and whom it drew."""
    masks = terms.scheme == "masks"
    keys, signature = bytes(told["publics"]), bytes(told.get("signature", b""))
    if len(keys) != (PUBLIC_BYTES if masks else KEY_BYTES):
        raise ValueError("not public keys")
    if len(signature) not in (0, SIGNATURE_BYTES):
        raise ValueError("not a signature")
    for at in range(0, len(keys), KEY_BYTES):  # one that is none would end every other's sum
        exchange(PROBE, keys[at : at + KEY_BYTES])
    drawn = unpack_rows(told["drawn"], 0, len(terms.members)) if masks else {}
    if masks and (len(drawn) != terms.degree or not set(drawn) <= set(terms.members)):
        raise ValueError(f"drew {len(drawn)} neighbours, not {terms.degree} of the members")
    return Public(keys, signature, frozenset(drawn))


def _size(fields: Mapping[str, Any]) -> int:
    """Bytes of what a record holds."""
    total = 0
    for value in fields.values():
        for item in value if isinstance(value, list) else [value]:
            total += len(item) if isinstance(item, bytes | str) else 8
    return total
