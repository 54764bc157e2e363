"""Secure aggregation, the SECRET side: a member hides its update in masks that cancel in the sum.

Bonawitz et al. 2017 on the graph of Bell et al. 2020. In four phases, each of which members may
fail to answer:

1. keys: a member makes two X25519 keys, of a channel and of masks, and tells their public halves.
2. shares: it cuts the seed of its own mask and its mask key in parts (Shamir), one for each
   neighbour and itself, and seals each for its holder under the channel's key.
3. masking: to its words it adds the mask of its own seed and one of each neighbour, with opposite
   signs at the two ends. A word with a mask on it is uniform.
4. unmasking: told who survived, it gives its part of each surviving neighbour's seed, or of each
   lost neighbour's mask key. Never both: it answers for one list only, and for a sum of enough.

Masks are ChaCha20's keystream under keys from HKDF-SHA256 (RFC 5869); parts are sealed by AES-GCM.
All keys are bound to the terms' digest, sealed parts to sender and holder too.

Assumed: the server passes on the public keys that it was given (it could otherwise stand between
any two members), and says who survived. It may lie in what it says: since more than half of a
client's holders are needed for either secret and each honest one gives out one kind only, two
lists cannot open a client unless `2 needed - holders` of them or more collude with the server. A
member may spoil the sum, by masking something else than its update; no one can see that it did.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.errors import SecureSumFailed
from privacy.sums.boxes import (
    KEY_BYTES,
    TAG_BYTES,
    exchange,
    open_box,
    pack_rows,
    public_of,
    seal_box,
    unpack_rows,
)
from privacy.sums.fixed_point import Words
from privacy.sums.masks import PART_BYTES, add_masks, commitment, own_mask, point_of
from privacy.sums.shares import split
from privacy.sums.terms import Terms

BOX_BYTES = 2 * PART_BYTES + TAG_BYTES

Publics = Mapping[int, tuple[bytes, bytes]]  # of each member: channel's, masks'


@dataclass
class Member:
    """One client in one sum. Between phases it is kept as `fields`.

    Attributes:
        channel, mask, seed: its secrets: two X25519 keys, and the seed of its own mask.
        publics: its neighbours' public keys, of masks.
        agreed: with each neighbour, what X25519 gave on the channel.
        held: of each neighbour that shared: its part of the seed, then of the mask key.
        answered: digest of the list of survivors that it answered for; empty before.
    """

    terms: Terms
    me: int
    channel: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    mask: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    publics: dict[int, bytes] = field(default_factory=dict)
    agreed: dict[int, bytes] = field(default_factory=dict, repr=False)
    held: dict[int, bytes] = field(default_factory=dict, repr=False)
    answered: bytes = b""

    def advertise(self) -> tuple[bytes, bytes]:
        """Phase 1: the public halves of its keys, of channel and masks.

        Raises:
            SecureSumFailed: under these terms its update could be read.
        """
        self.terms.require_safe(self.me)
        return public_of(self.channel), public_of(self.mask)

    def share(self, publics: Publics) -> tuple[dict[int, bytes], bytes]:
        """Phase 2: a sealed pair of parts for each neighbour, and a commitment to its seed.

        Args:
            publics: keys of the neighbours that are still there.

        Raises:
            SecureSumFailed: they are too few, or strangers, or already told.
        """
        if self.agreed or not self.channel:
            raise SecureSumFailed("the parts of this sum were already given out")
        self._require_neighbours(publics)
        holders = sorted([*publics, self.me])
        points = [point_of(h) for h in holders]
        needed = self.terms.needed
        parts = zip(
            holders,
            split(self.seed, needed, points),
            split(self.mask, needed, points),
            strict=True,
        )
        channel = X25519PrivateKey.from_private_bytes(self.channel)
        self.agreed = {m: exchange(channel, keys[0]) for m, keys in publics.items()}
        self.publics = {m: keys[1] for m, keys in publics.items()}
        boxes = {}
        for holder, of_seed, of_mask in parts:
            if holder == self.me:
                self.held[self.me] = of_seed + bytes(PART_BYTES)  # its own mask key it never tells
            else:
                boxes[holder] = seal_box(
                    self.terms, self.agreed[holder], self.me, holder, of_seed + of_mask
                )
        return boxes, commitment(self.seed)

    def conceal(self, words: Words, boxes: Mapping[int, bytes]) -> Words:
        """Phase 3: words [D + 2] with all masks on, and the parts that it now holds taken in.

        Args:
            boxes: the sealed parts for it, of the neighbours that shared.

        Raises:
            SecureSumFailed: they are too few, or one was altered, replayed or for another.
        """
        if self.has_masked or not self.agreed:
            raise SecureSumFailed("this sum was masked already, or its parts not given out")
        self._require_neighbours(boxes)
        if strangers := set(boxes) - set(self.agreed):
            raise SecureSumFailed(f"parts of {sorted(strangers)}, whose keys are not known")
        opened = {
            sender: open_box(self.terms, self.agreed[sender], sender, self.me, box, BOX_BYTES)
            for sender, box in boxes.items()
        }
        mask_key = X25519PrivateKey.from_private_bytes(self.mask)
        masked = words + own_mask(self.seed, self.terms, words)
        agreed = {other: exchange(mask_key, self.publics[other]) for other in boxes}
        add_masks(masked, self.me, agreed, self.terms)
        self.held |= opened
        return masked

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
        which = hashlib.sha256(repr(sorted(alive)).encode()).digest()
        if self.answered not in (b"", which):
            raise SecureSumFailed("asked to unmask for a second list of survivors")
        self.answered = which
        return {
            m: parts[:PART_BYTES] if m in alive else parts[PART_BYTES:]
            for m, parts in self.held.items()
        }

    @property
    def has_masked(self) -> bool:
        """Has it given its words? It gives them once."""
        return len(self.held) > 1

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
            "publics": pack_rows(self.publics),
            "agreed": pack_rows(self.agreed),
            "held": pack_rows(self.held),
            "answered": self.answered,
        }

    @classmethod
    def of_fields(cls, kept: Mapping) -> "Member":
        """The inverse of `fields`."""
        own: bytes = kept["secrets"]
        return cls(
            Terms.from_json(str(kept["terms"])),
            int(kept["me"]),
            own[:KEY_BYTES],
            own[KEY_BYTES : 2 * KEY_BYTES],
            own[2 * KEY_BYTES :],
            unpack_rows(kept["publics"], KEY_BYTES),
            unpack_rows(kept["agreed"], KEY_BYTES),
            unpack_rows(kept["held"], 2 * PART_BYTES),
            kept["answered"],
        )

    def _require_neighbours(self, told: Mapping[int, object]) -> None:
        if strangers := set(told) - set(self.terms.neighbours(self.me)):
            raise SecureSumFailed(f"{sorted(strangers)} are no neighbours of client {self.me}")
        if len(told) + 1 < self.terms.needed:
            raise SecureSumFailed(
                f"client {self.me} has {len(told)} neighbours left; {self.terms.needed - 1} are "
                "needed to unmask"
            )
