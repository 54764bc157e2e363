"""The server's half of each scheme of secure aggregation, phase by phase."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from flwr.app import RecordDict

from clients.node.secure import SUM
from privacy.errors import CiphertextError, SecureSumFailed
from privacy.sums.boxes import KEY_BYTES, pack_list, pack_rows, unpack_rows
from privacy.sums.fixed_point import TRAILER, Words
from privacy.sums.masks import BOX_BYTES, PART_BYTES, PROOF_BYTES, Dealt
from privacy.sums.terms import Terms
from privacy.sums.unmasking import Shared, Unmasking

MOST_KEY_BYTES = 1 << 16  # of a sealed CKKS key

Told = Mapping[str, Any]
T = TypeVar("T")


class Public(NamedTuple):
    """What a member tells first.

    Attributes:
        keys: public halves, one after another.
        signature: of them; empty where the member has no roster.
        drawn: members to hold its parts.
    """

    keys: bytes
    signature: bytes
    drawn: Collection[int]


class Members(Protocol):
    """The members of one sum, as the server reaches them: `server.federation.secure.SecureSum`."""

    publics: dict[int, Public]
    liars: set[int]
    failures: dict[int, tuple[str, bool]]

    def ask(self, phase: str, told: Mapping[int, Told], read: Callable[[Told], T]) -> dict[int, T]:
        """One question to each; what is read of the answers that are as they should be."""

    def require_enough(self, phase: str, left: Collection[int]) -> None:
        """Raises SecureSumFailed where too few are left."""


class Scheme(Protocol):
    """What masks and CKKS do differently."""

    def prepare(self, members: Members) -> dict[int, dict[str, Any]]:
        """Phase 2: what each client that is left must be told to conceal its update."""

    def add(self, client: int, content: RecordDict) -> Words | None:
        """Phase 3: take one client's part in; raises ValueError if it is no part of this sum."""

    def open(self, members: Members, survivors: list[int]) -> Words:
        """Phase 4: the sum."""


class Masks:
    """privacy.sums.masking's server."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._total = np.zeros(terms.length + TRAILER, terms.grid.dtype)
        self._shared: dict[int, Shared] = {}
        self._refused: dict[int, set[int]] = {}

    def prepare(self, members: Members) -> dict[int, dict[str, Any]]:
        publics = members.publics
        near = _neighbours({c: public.drawn for c, public in publics.items()})
        asked = {c: _told_of(publics, others) for c, others in near.items()}
        told = members.ask("shares", asked, partial(_shared, most=len(self._terms.members)))
        members.require_enough("shares", told)
        prepared = {}
        for client, (dealt, refused) in told.items():
            there = {
                m
                for m in near[client] & set(told)
                if _gave(publics[client], dealt, m) and _gave(publics[m], told[m][0], client)
                and m not in refused and client not in told[m][1]
            }  # fmt: skip
            self._shared[client] = Shared(
                publics[client].keys[KEY_BYTES:], dealt.commitment, dealt.proofs, there
            )
            boxes = {m: told[m][0].boxes[client] for m in there if client in told[m][0].boxes}
            proofs = {m: told[m][0].proofs[client] for m in boxes}
            prepared[client] = {
                "there": pack_list(there),
                "boxes": pack_rows(boxes),
                "proofs": pack_rows(proofs),
            }
        return prepared

    def add(self, client: int, content: RecordDict) -> Words:
        array = content.array_records["arrays"][SUM]
        if len(array.data) > self._total.nbytes + 1024:  # before anything is unpacked
            raise ValueError(f"masked words of {len(array.data)} bytes")
        words: Words = array.numpy()
        if words.shape != self._total.shape or words.dtype != self._total.dtype:
            raise ValueError(f"masked words are {words.dtype}{list(words.shape)}")
        told: Any = content.config_records[SUM]["refused"]
        for dealer in unpack_rows(told, 0, len(self._terms.members)):
            self._refused.setdefault(dealer, set()).add(client)
        self._total += words
        return words

    def open(self, members: Members, survivors: list[int]) -> Words:
        asked = {client: {"survivors": pack_list(survivors)} for client in survivors}
        most = len(self._terms.members)
        revealed = members.ask(
            "unmask", asked, lambda told: unpack_rows(told["parts"], PART_BYTES, most)
        )
        unmasking = Unmasking(self._terms, self._shared, self._refused)
        try:
            return unmasking.unmask(self._total, set(survivors), revealed)
        finally:
            members.liars |= unmasking.liars


class Ckks:
    """privacy.sums.encrypted_sum's server."""

    def __init__(self, terms: Terms) -> None:
        from privacy.sums.encrypted_sum import EncryptedSum  # TenSEAL takes a while to import

        self._sum = EncryptedSum(terms.length + TRAILER)
        self._size_bytes = 4 * (terms.length + TRAILER)

    def prepare(self, members: Members) -> dict[int, dict[str, Any]]:
        publics = members.publics
        asked = _told_of(publics, publics)
        for dealer, public in publics.items():
            told = members.ask("shares", {dealer: asked}, partial(_sealed, most=len(publics)))
            left = set(publics) - set(members.failures)
            if dealer in told:
                boxes = told[dealer]
                sealed = {"dealer": dealer, "public": public.keys}
                sealed["signatures"] = _told_of(publics, [dealer])["signatures"]
                return {c: {**sealed, "box": boxes.get(c, b"")} for c in {dealer, *boxes} & left}
        raise SecureSumFailed("secure aggregation: no client dealt a key; no update was revealed")

    def _words(self, told: Told) -> Words:
        if len(told["words"]) != self._size_bytes:
            raise ValueError(f"a sum of {len(told['words'])} bytes")
        return np.frombuffer(told["words"], np.uint32)

    def add(self, client: int, content: RecordDict) -> None:
        parts = content.config_records[SUM]["ciphertexts"]
        try:
            self._sum.add(parts)  # type: ignore[arg-type]
        except CiphertextError as error:
            raise ValueError(str(error)) from None

    def open(self, members: Members, survivors: list[int]) -> Words:
        asked = {"survivors": pack_list(survivors), "ciphertexts": self._sum.parts()}
        for client in survivors:
            for words in members.ask("unmask", {client: asked}, self._words).values():
                return words
        raise SecureSumFailed("secure aggregation: no survivor decrypted the sum")


SCHEMES: dict[str, Callable[[Terms], Scheme]] = {"masks": Masks, "ckks": Ckks}


def _neighbours(drawn: Mapping[int, Collection[int]]) -> dict[int, set[int]]:
    """Of each member that is there: whom it drew, and who drew it."""
    near = {
        member: {other for other in others if other in drawn} for member, others in drawn.items()
    }
    for member, others in drawn.items():
        for other in others:
            if other in near:
                near[other].add(member)
    return near


def _gave(public: Public, dealt: Dealt, other: int) -> bool:
    """Did a member deal to another what it should? Else neither counts on the other."""
    return other not in public.drawn or (other in dealt.boxes and other in dealt.proofs)


def _told_of(publics: Mapping[int, Public], members: Iterable[int]) -> dict[str, Any]:
    """Keys of members, and the signatures of those that signed."""
    signed = {m: publics[m].signature for m in members}
    return {
        "publics": pack_rows({m: publics[m].keys for m in signed}),
        "signatures": pack_rows({m: signature for m, signature in signed.items() if signature}),
    }


def _shared(told: Told, most: int) -> tuple[Dealt, set[int]]:
    """What a member dealt, and whose keys it did not take."""
    boxes = unpack_rows(told["boxes"], BOX_BYTES, most)
    proofs = unpack_rows(told["proofs"], 2 * PROOF_BYTES, most)
    refused = set(unpack_rows(told["refused"], 0, most))
    return Dealt(boxes, proofs, bytes(told["commitment"])), refused


def _sealed(told: Told, most: int) -> dict[int, bytes]:
    """A sealed key for each member that the dealer takes for one."""
    num = int(told["num"])
    if not 0 < num < most:
        raise ValueError(f"{num} sealed keys")
    size_bytes = len(told["boxes"]) // num - 4
    if not 0 < size_bytes < MOST_KEY_BYTES:
        raise ValueError(f"sealed keys of {size_bytes} bytes")
    return unpack_rows(told["boxes"], size_bytes, num)
