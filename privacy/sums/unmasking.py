"""Secure aggregation, the PUBLIC side: what a server does with masked words. It holds no secret.

It adds them, learns the seeds of those whose words it has and the mask keys of those whose words
never came, and takes off the masks that are left in the sum. See privacy.sums.masking.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.errors import SecureSumFailed
from privacy.sums.boxes import KEY_BYTES, exchange, public_of
from privacy.sums.fixed_point import Words
from privacy.sums.masks import PART_BYTES, add_masks, commitment, own_mask, point_of
from privacy.sums.shares import combine
from privacy.sums.terms import Terms


class Unmasking:
    """The server in one sum.

    Args:
        mask_keys: public, of every member that shared.
        commitments: of their seeds.
    """

    def __init__(
        self, terms: Terms, mask_keys: Mapping[int, bytes], commitments: Mapping[int, bytes]
    ) -> None:
        self._terms, self._mask_keys, self._commitments = terms, mask_keys, commitments

    def unmask(
        self, total: Words, survivors: set[int], revealed: Mapping[int, Mapping[int, bytes]]
    ) -> Words:
        """Take off, in place, what is left of all masks in the sum of the survivors' words.

        Args:
            revealed: what each member that answered told: by member, its part.

        Raises:
            SecureSumFailed: too few told, or what they told is not what was shared.
        """
        parts = self._gather(survivors, revealed)
        lost = self._lost(survivors)
        for member in [*sorted(survivors), *lost]:
            if len(parts[member]) < self._terms.needed:
                raise SecureSumFailed(
                    f"{len(parts[member])} parts of client {member}'s masks were told, "
                    f"{self._terms.needed} are needed: the sum stays masked"
                )
        seeds = {m: self._secret(m, parts[m], lost=False) for m in sorted(survivors)}
        keys = {m: self._secret(m, parts[m], lost=True) for m in lost}
        for seed in seeds.values():
            total -= own_mask(seed, self._terms, total)
        for member, key in keys.items():
            private = X25519PrivateKey.from_private_bytes(key)
            others = [m for m in self._terms.neighbours(member) if m in survivors]
            agreed = {other: exchange(private, self._mask_keys[other]) for other in others}
            # as the lost one would have: its masks cancel its neighbours'
            add_masks(total, member, agreed, self._terms)
        return total

    def _lost(self, survivors: set[int]) -> list[int]:
        """Whose masks are in the sum, though they are not: they shared, and a neighbour is in."""
        return [
            member
            for member in sorted(set(self._mask_keys) - survivors)
            if any(other in survivors for other in self._terms.neighbours(member))
        ]

    def _gather(
        self, survivors: set[int], revealed: Mapping[int, Mapping[int, bytes]]
    ) -> dict[int, dict[int, bytes]]:
        """By member, the parts that its holders told."""
        parts: dict[int, dict[int, bytes]] = {member: {} for member in self._mask_keys}
        for holder, told in revealed.items():
            mine = {*self._terms.neighbours(holder), holder}
            for member, part in told.items():
                if member in parts and member in mine and len(part) == PART_BYTES:
                    parts[member][point_of(holder)] = part
        return parts

    def _secret(self, member: int, parts: dict[int, bytes], lost: bool) -> bytes:
        chosen = dict(list(parts.items())[: self._terms.needed])
        try:
            secret = combine(chosen, KEY_BYTES)
        except ValueError:
            secret = b""
        if lost:
            right = len(secret) == KEY_BYTES and public_of(secret) == self._mask_keys[member]
        else:
            right = commitment(secret) == self._commitments[member]
        if not right:
            raise SecureSumFailed(
                f"the parts told of client {member}'s masks are not what it shared: a member lied"
            )
        return secret
