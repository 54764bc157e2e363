"""What a run remembers of its rounds: one record each, one line of rounds.jsonl."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from privacy.documents import from_json, to_json
from privacy.dp.budget import LEAST_CLIP, MOST_CLIP
from privacy.dp.ledger import Ledger

EXACT = ConfigDict(extra="forbid")


@dataclass
class ClientRecord:
    """One client in one round: what it sent, or why it did not.

    Attributes:
        ledger: all that its data have spent until now, as `Ledger.to_json`.
        failure: reason of its exception, refusal or rejection; None for a good update.
        refused: the failure is the device's own no, to save its budget.
    """

    __pydantic_config__ = EXACT

    client: int
    num_examples: int = 0
    ledger: str = "[]"
    upload_bytes: int = 0
    failure: str | None = None
    refused: bool = False


@dataclass
class RoundRecord:
    """One round: who took part, and what the model then reached on the test set.

    Attributes:
        epsilon: the maximum over clients until now; None without a budget.
        secure: under secure aggregation, what the server saw: see server.federation.secure.Seen.
        accuracy, loss: on the whole test set; None in rounds that were not evaluated.
        figures: others on it, by name: see `server.run.figures`.
        zeros: share of the layers' weights that is pruned; None without [pruning].
        clipping: where the clip follows a quantile, the `clip` of this round, and the noisy `share`
            of updates that were within it; the next clip follows from them.
    """

    __pydantic_config__ = EXACT

    round: int
    learning_rate: float
    seconds: float
    clients: list[ClientRecord]
    epsilon: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    client_metrics: dict[str, float] = field(default_factory=dict)
    secure: dict[str, Any] = field(default_factory=dict)
    zeros: float | None = None
    clipping: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        return to_json(vars(self) | {"clients": [vars(client) for client in self.clients]})

    @classmethod
    def from_json(cls, text: str) -> "RoundRecord":
        """The inverse of `to_json`.

        Raises:
            ValueError: a field is not there, or not what it should be.
        """
        record = _whole().validate_python(from_json(text))
        for client in record.clients:
            _require_ledger(client.ledger)
        if record.secure and not all(
            type(record.secure.get(key)) is int for key in ("members", "single_updates")
        ):
            raise ValueError("secure: does not say what the server saw")
        if record.clipping:
            _require_clipping(record.clipping)
        return record


@cache
def _whole() -> TypeAdapter[RoundRecord]:
    return TypeAdapter(RoundRecord)


@lru_cache(maxsize=4096)
def _require_ledger(text: str) -> None:
    Ledger.from_json(text)


def _require_clipping(told: dict[str, float]) -> None:
    """A run that is taken up again clips by it."""
    if set(told) != {"clip", "share"} or not all(map(math.isfinite, told.values())):
        raise ValueError("clipping: not a clip and a share")
    if not LEAST_CLIP <= told["clip"] <= MOST_CLIP:
        raise ValueError(f"clipping: clip = {told['clip']}")


Observe = Callable[[RoundRecord], None]  # told of each round when it is safely on disk


def ledgers_after(rounds: list[RoundRecord]) -> dict[int, Ledger]:
    """The last known ledger of each client that took part."""
    latest = {c.client: c.ledger for record in rounds for c in record.clients}
    return {client: Ledger.from_json(text) for client, text in latest.items()}
