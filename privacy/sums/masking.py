"""Secure aggregation, the SECRET side: a member hides its update in masks that cancel in the sum.

Bonawitz et al. 2017, on a graph that its members draw (Bell et al. 2020, section 4). In four
phases, each of which members may fail to answer:

1. keys: a member makes two X25519 keys, of a channel and of masks, tells their public halves, and
   draws its neighbours.
2. shares: it cuts the seed of its own mask and its mask key in parts (Shamir), one for each
   neighbour and itself, and seals each for its holder under the channel's key.
3. masking: to its words it adds the mask of its own seed and one for each neighbour, be it drawn
   or one that drew it, with opposite signs at the two ends. A word with a mask on it is uniform.
4. unmasking: told who survived, it gives its part of each surviving member's seed, or of each lost
   member's mask key. Never both: it answers for one list only, and for a sum of enough.

Masks are ChaCha20's keystream under keys from HKDF-SHA256 (RFC 5869); parts are sealed by AES-GCM.
All keys are bound to the terms' digest, sealed parts to sender and holder too. The terms name what
all members are sent to train: masks of members that were sent different things do not cancel, and
their parts do not open (Pasquini, Francati and Ateniese 2022).

Nobody but a member has a say in who its neighbours are: not the server, which could choose or grind
them until enough collude, nor a member that makes its keys last.

Who lies is named by hashes of the parts, which the dealer tells the server and the server each
holder. A holder accepts a part only if it fits, so one that later tells another lies; and a dealer
whose parts fit, but give no secret of its, lied to all. Feldman's commitments (1987) would show the
latter before it masks, for `needed` group operations a part; here it costs that one attempt.

Assumed: the server passes on the public keys that it was given (with a roster it must:
privacy.sums.roster), and says who survived. It may lie in what it says: since more than half of a
client's holders are needed for either secret and each honest one gives out one kind only, two
lists cannot open a client unless `2 needed - holders` of them or more collude with the server. A
member may spoil the sum, by masking something else than its update; no one can see that it did.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.errors import SecureSumFailed
from privacy.sums.boxes import (
    KEY_BYTES,
    exchange,
    open_box,
    pack_list,
    pack_rows,
    public_of,
    seal_box,
    unpack_rows,
)
from privacy.sums.fixed_point import Words
from privacy.sums.masks import (
    BOX_BYTES,
    PART_BYTES,
    PUBLIC_BYTES,
    Dealt,
    add_masks,
    commitment,
    own_mask,
    point_of,
    proof,
)
from privacy.sums.shares import split
from privacy.sums.terms import Terms


@dataclass
class Member:
    """One client in one sum. Between phases it is kept as `fields`.

    Attributes:
        channel, mask, seed: its secrets: two X25519 keys, and the seed of its own mask.
        drawn: the members that it chose to hold its parts.
        publics: public keys of its neighbours: those that it drew, and those that drew it.
        agreed: with each of them, what X25519 gave on the channel.
        held: of each member whose parts it holds: that of the seed, then of the mask key.
        has_masked: has it given its words? It gives them once.
        answered: digest of the list of survivors that it answered for; empty before.
    """

    terms: Terms
    me: int
    channel: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    mask: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    drawn: frozenset[int] = frozenset()
    publics: dict[int, bytes] = field(default_factory=dict)
    agreed: dict[int, bytes] = field(default_factory=dict, repr=False)
    held: dict[int, bytes] = field(default_factory=dict, repr=False)
    has_masked: bool = False
    answered: bytes = b""

    def advertise(self) -> bytes:
        """Phase 1: draw the neighbours; the public halves of the keys, of channel and masks.

        Raises:
            SecureSumFailed: under these terms its update could be read.
        """
        self.terms.require_safe(self.me)
        others = [member for member in self.terms.members if member != self.me]
        self.drawn = frozenset(secrets.SystemRandom().sample(others, self.terms.degree))
        return public_of(self.channel) + public_of(self.mask)

    def share(self, publics: Mapping[int, bytes]) -> Dealt:
        """Phase 2: parts for each of those drawn.

        Args:
            publics: keys of the neighbours that are still there.

        Raises:
            SecureSumFailed: they are too few, or strangers, or already told.
        """
        if self.agreed or not self.channel:
            raise SecureSumFailed("the parts of this sum were already given out")
        if strangers := set(publics) - set(self.terms.members) or {self.me} & set(publics):
            raise SecureSumFailed(f"{sorted(strangers)} are no neighbours of client {self.me}")
        self._require_enough(publics)
        holders = sorted([*(self.drawn & set(publics)), self.me])
        points = [point_of(h) for h in holders]
        needed = self.terms.needed
        parts = zip(
            holders,
            split(self.seed, needed, points),
            split(self.mask, needed, points),
            strict=True,
        )
        channel = X25519PrivateKey.from_private_bytes(self.channel)
        self.agreed = {m: exchange(channel, keys[:KEY_BYTES]) for m, keys in publics.items()}
        self.publics = dict(publics)
        boxes, proofs = {}, {}
        for holder, of_seed, of_mask in parts:
            pair = of_seed + of_mask
            proofs[holder] = self._proofs(self.me, holder, pair)
            if holder == self.me:
                self.held[self.me] = of_seed + bytes(PART_BYTES)  # its own mask key it never tells
            else:
                boxes[holder] = seal_box(self.terms, self.agreed[holder], self.me, holder, pair)
        return Dealt(boxes, proofs, commitment(self.seed))

    def conceal(
        self,
        words: Words,
        there: Collection[int],
        boxes: Mapping[int, bytes],
        proofs: Mapping[int, bytes],
    ) -> tuple[Words, list[int]]:
        """Phase 3: words [D + 2] with all masks on, and the parts that it now holds taken in.

        Args:
            there: those of its neighbours that shared.
            boxes: the sealed parts for it, of those that drew it.
            proofs: of these parts.

        Returns:
            The masked words; and whose parts were altered, replayed, for another, or are not what
            was said of them: it does not hold these.

        Raises:
            SecureSumFailed: they are too few, or strangers.
        """
        if self.has_masked or not self.agreed:
            raise SecureSumFailed("this sum was masked already, or its parts not given out")
        if strangers := {*there, *boxes} - set(self.publics):
            raise SecureSumFailed(f"parts of {sorted(strangers)}, whose keys are not known")
        self._require_enough(there)
        held, refused = {}, []
        for sender, box in boxes.items():
            try:
                pair = open_box(self.terms, self.agreed[sender], sender, self.me, box, BOX_BYTES)
            except SecureSumFailed:
                pair = b""
            if pair and self._proofs(sender, self.me, pair) == proofs.get(sender):
                held[sender] = pair
            else:
                refused.append(sender)
        mask_key = X25519PrivateKey.from_private_bytes(self.mask)
        masked = words + own_mask(self.seed, self.terms, words)
        shared = {m: exchange(mask_key, self.publics[m][KEY_BYTES:]) for m in sorted({*there})}
        add_masks(masked, self.me, shared, self.terms)
        self.held |= held
        self.has_masked = True
        return masked, refused

    def reveal(self, survivors: Sequence[int]) -> dict[int, bytes]:
        """Phase 4: its part of each neighbour's seed, or mask key if that one was lost.

        Args:
            survivors: whose masked words are in the sum; all members, not neighbours only.

        Raises:
            SecureSumFailed: it is not among them, they are too few, or it has answered for others.
        """
        alive = set(survivors)
        if len(alive) != len(survivors) or not alive <= set(self.terms.members):
            raise SecureSumFailed("the survivors are not members")
        if self.me not in alive or not self.has_masked:
            raise SecureSumFailed("asked to unmask a sum that it is not in")
        if len(alive) < self.terms.survivors:
            raise SecureSumFailed(f"{len(alive)} survivors, {self.terms.survivors} are needed")
        which = list_digest(survivors)
        if self.answered not in (b"", which):
            raise SecureSumFailed("asked to unmask for a second list of survivors")
        self.answered = which
        return {
            m: parts[:PART_BYTES] if m in alive else parts[PART_BYTES:]
            for m, parts in self.held.items()
        }

    def forget(self) -> None:
        """Keep no secret of its own; it can only tell again what it told."""
        self.channel = self.mask = self.seed = b""
        self.publics, self.agreed = {}, {}

    def fields(self) -> dict[str, bytes | int | str]:
        """What must be known in the next phase."""
        return {
            "terms": self.terms.model_dump_json(),
            "me": self.me,
            "secrets": self.channel + self.mask + self.seed,
            "drawn": pack_list(self.drawn),
            "publics": pack_rows(self.publics),
            "agreed": pack_rows(self.agreed),
            "held": pack_rows(self.held),
            "has_masked": int(self.has_masked),
            "answered": self.answered,
        }

    @classmethod
    def of_fields(cls, kept: Mapping) -> "Member":
        """The inverse of `fields`."""
        own: bytes = kept["secrets"]
        terms = Terms.from_json(str(kept["terms"]))
        most = len(terms.members)
        return cls(
            terms,
            int(kept["me"]),
            own[:KEY_BYTES],
            own[KEY_BYTES : 2 * KEY_BYTES],
            own[2 * KEY_BYTES :],
            frozenset(unpack_rows(kept["drawn"], 0, most)),
            unpack_rows(kept["publics"], PUBLIC_BYTES, most),
            unpack_rows(kept["agreed"], KEY_BYTES, most),
            unpack_rows(kept["held"], 2 * PART_BYTES, most),
            bool(kept["has_masked"]),
            kept["answered"],
        )

    def _proofs(self, dealer: int, holder: int, pair: bytes) -> bytes:
        parts = pair[:PART_BYTES], pair[PART_BYTES:]
        return b"".join(proof(self.terms, dealer, holder, part) for part in parts)

    def _require_enough(self, told: Collection[int]) -> None:
        left = len(self.drawn & set(told))
        if left + 1 < self.terms.needed:
            raise SecureSumFailed(
                f"client {self.me} has {left} neighbours left; {self.terms.needed - 1} are "
                "needed to unmask"
            )


def list_digest(members: Iterable[int]) -> bytes:
    """Of a list of members, whatever its order."""
    return hashlib.sha256(pack_list(members)).digest()
