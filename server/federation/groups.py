"""A cohort's secure sums: one of all, or of groups that can be compared; without those who lie.

Behind a sum no update can be compared with others, so one client can say anything. Where a cohort
is drawn into groups, the strategy and the norm bound see each group's mean as they would an update,
and a liar spoils its group's only. What it costs: a client hides in its group.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from clients.seeds import derive
from privacy.errors import SecureSumFailed
from privacy.sums.terms import FEWEST, Secure, Terms
from server.federation.grid import Nodes
from server.federation.secure import SecureSum, See, Seen
from server.run.directory import Weights

log = logging.getLogger("privet")


@dataclass
class Summed:
    """What came of a cohort's sums.

    Attributes:
        means: of each sum that was made, weights and how many records are behind them.
        seen: by the server.
        ledgers: of those whose updates are in a sum, as they told them.
        failures: of the others: why, and whether the client refused.
        up_bytes: of each client.
    """

    means: list[tuple[Weights, int]] = field(default_factory=list)
    seen: Seen | None = None
    ledgers: dict[int, str] = field(default_factory=dict)
    failures: dict[int, tuple[str, bool]] = field(default_factory=dict)
    up_bytes: dict[int, int] = field(default_factory=dict)

    def take(self, one: SecureSum) -> None:
        """Note what a sum that was made told of its members."""
        self.seen = self.seen + one.seen if self.seen else one.seen
        self.count(one.up_bytes)
        for client, reply in one.replies.items():
            self.ledgers[client] = str(reply.content.config_records["spent"]["ledger"])
        for client, failure in one.failures.items():
            if client not in one.replies:
                self.failures.setdefault(client, failure)

    def count(self, up_bytes: dict[int, int]) -> None:
        """Add what each client sent, for a sum or in vain."""
        for client, size_bytes in up_bytes.items():
            self.up_bytes[client] = self.up_bytes.get(client, 0) + size_bytes


class Sums:
    """The sums of one round.

    Args:
        grid: reaches the clients.
        nodes: the grid's node of each member of the cohort.
        terms: of a sum of so many members.
        see: told of each masked update; for tests of what a server can read from them.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Nodes,
        terms: Callable[[list[int]], Terms],
        timeout_s: float,
        see: See | None,
    ) -> None:
        self._grid, self._nodes, self._terms = grid, nodes, terms
        self._timeout_s, self._see = timeout_s, see

    def run(
        self, messages: Sequence[Message], weights: Weights, secure: Secure, seed: int
    ) -> Summed:
        """All of them, one after another.

        Args:
            messages: Flower's, to train, one for each member.
            seed: draws the groups.

        Raises:
            SecureSumFailed: no sum of all, or of no more than half of the groups.
        """
        groups = drawn(sorted(self._nodes), secure.groups, seed)
        summed = Summed()
        failed = []
        for members in groups:
            try:
                summed.means.append(self._sum(summed, messages, weights, members, secure))
            except SecureSumFailed as failure:
                failed.append(failure)
                log.warning("secure aggregation: clients %s: %s", members, failure)
                for client in members:
                    summed.failures.setdefault(client, (str(failure), False))
        if 2 * len(failed) >= len(groups):
            raise failed[0]
        return summed

    def _sum(
        self,
        summed: Summed,
        messages: Sequence[Message],
        weights: Weights,
        members: list[int],
        secure: Secure,
    ) -> tuple[Weights, int]:
        """One sum, tried again without members that are known to have lied."""
        left = list(members)
        while True:
            nodes = {client: self._nodes[client] for client in left}
            one = SecureSum(self._grid, nodes, self._terms(left), self._timeout_s, self._see)
            asked = [m for m in messages if m.metadata.dst_node_id in nodes.values()]
            try:
                mean = one.run(asked, weights)
            except SecureSumFailed as failure:
                summed.count(one.up_bytes)
                left = [client for client in left if client not in one.liars]
                if not one.liars or len(left) < max(FEWEST, secure.fewest(len(members))):
                    raise
                log.warning("secure aggregation: without clients %s: %s", one.liars, failure)
                for client in one.liars:
                    summed.failures[client] = (f"unmask: {failure}", False)
                continue
            summed.take(one)
            return mean, one.seen.examples


def drawn(members: list[int], groups: int, seed: int) -> list[list[int]]:
    """Members in groups of nearly one size, at random."""
    shuffled = np.random.default_rng(derive(seed, "groups")).permutation(members)
    return [sorted(int(m) for m in part) for part in np.array_split(shuffled, groups)]
