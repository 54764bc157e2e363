"""Secure aggregation, the PUBLIC side: what a server does with masked words. It holds no secret.

It adds them, learns the seeds of those whose words it has and the mask keys of those whose words
never came, and takes off the masks that are left in the sum. See privacy.sums.masking.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.errors import SecureSumFailed
from privacy.sums.boxes import KEY_BYTES, exchange, public_of
from privacy.sums.fixed_point import Words
from privacy.sums.masks import (
    PROOF_BYTES,
    add_masks,
    commitment,
    own_mask,
    point_of,
    proof,
)
from privacy.sums.shares import combine
from privacy.sums.terms import Terms


class Shared(NamedTuple):
    """What the server knows of a member that shared.

    Attributes:
        mask_key: public.
        commitment: to its seed.
        proofs: of its parts, by holder: of the seed's, then of the mask key's.
        pairs: with whom it masks.
    """

    mask_key: bytes
    commitment: bytes
    proofs: Mapping[int, bytes]
    pairs: Collection[int]


class Unmasking:
    """The server in one sum.

    Args:
        shared: by member.
        refused: by member, the holders that say they were dealt other parts than it proved.

    Attributes:
        liars: members who told what is not so; some of the parts may have been enough without them.
    """

    def __init__(
        self, terms: Terms, shared: Mapping[int, Shared], refused: Mapping[int, Collection[int]]
    ) -> None:
        self._terms, self._shared, self._refused = terms, shared, refused
        self.liars: set[int] = set()

    def unmask(
        self, total: Words, survivors: set[int], revealed: Mapping[int, Mapping[int, bytes]]
    ) -> Words:
        """Take off, in place, what is left of all masks in the sum of the survivors' words.

        Args:
            revealed: what each member that answered told: by member, its part.

        Raises:
            SecureSumFailed: too few told what they were dealt. `total` is as it was.
        """
        lost = self._lost(survivors)
        parts = self._gather(survivors, revealed)
        secrets: dict[int, bytes] = {}
        failures = []
        for member in [*sorted(survivors), *lost]:
            found, needed = parts[member], self._terms.needed
            if len(found) < needed:
                failures.append(
                    f"{len(found)} parts of client {member}'s masks were told, {needed} are needed"
                )
                if len(found) + len(self._refused.get(member, ())) >= needed:
                    self.liars.add(member)
                continue
            secret = self._secret(member, dict(list(found.items())[:needed]), member in survivors)
            if secret is None:
                failures.append(f"the parts told of client {member}'s masks are not of its secret")
                self.liars.add(member)
                continue
            secrets[member] = secret
        if failures:
            lied = f" (lied: clients {sorted(self.liars)})" if self.liars else ""
            raise SecureSumFailed(f"{failures[0]}: the sum stays masked{lied}")
        for member, secret in secrets.items():
            if member in survivors:
                total -= own_mask(secret, self._terms, total)
                continue
            private = X25519PrivateKey.from_private_bytes(secret)
            others = [other for other in self._shared[member].pairs if other in survivors]
            agreed = {other: exchange(private, self._shared[other].mask_key) for other in others}
            # as the lost one would have: its masks cancel its neighbours'
            add_masks(total, member, agreed, self._terms)
        return total

    def _lost(self, survivors: set[int]) -> list[int]:
        """Whose masks are in the sum, though they are not: they shared, and a neighbour is in."""
        return [
            member
            for member in sorted(set(self._shared) - survivors)
            if any(other in survivors for other in self._shared[member].pairs)
        ]

    def _gather(
        self, survivors: set[int], revealed: Mapping[int, Mapping[int, bytes]]
    ) -> dict[int, dict[int, bytes]]:
        """By member, the parts that its holders told and were dealt; others are lies."""
        parts: dict[int, dict[int, bytes]] = {member: {} for member in self._shared}
        for holder, told in revealed.items():
            for member, part in told.items():
                proofs = self._shared[member].proofs if member in self._shared else {}
                at = 0 if member in survivors else PROOF_BYTES
                expected = proofs.get(holder, b"")[at : at + PROOF_BYTES]
                if proof(self._terms, member, holder, part) == expected:
                    parts[member][point_of(holder)] = part
                else:
                    self.liars.add(holder)
        return parts

    def _secret(self, member: int, parts: dict[int, bytes], survived: bool) -> bytes | None:
        """A member's seed, or its mask key; None if its parts do not give what it promised."""
        try:
            secret = combine(parts, KEY_BYTES)
        except ValueError:
            return None
        if survived:
            right = commitment(secret) == self._shared[member].commitment
        else:
            right = public_of(secret) == self._shared[member].mask_key
        return secret if right else None
