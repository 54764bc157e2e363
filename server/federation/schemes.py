"""The server's half of each scheme of secure aggregation, phase by phase."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from flwr.app import RecordDict

from clients.node.secure import SUM
from privacy.errors import CiphertextError, SecureSumFailed
from privacy.sums.boxes import KEY_BYTES, TAG_BYTES, pack_rows, unpack_rows
from privacy.sums.fixed_point import TRAILER, Words
from privacy.sums.masks import PART_BYTES
from privacy.sums.terms import Terms
from privacy.sums.unmasking import Unmasking

MOST_KEY_BYTES = 1 << 16  # of a sealed CKKS key

Told = Mapping[str, Any]
T = TypeVar("T")


class Members(Protocol):
    """The members of one sum, as the server reaches them: `server.federation.secure.SecureSum`."""

    publics: dict[int, bytes]
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
        self._commitments: Mapping[int, bytes] = {}
        self._mask_keys: Mapping[int, bytes] = {}

    def prepare(self, members: Members) -> dict[int, dict[str, Any]]:
        publics = {c: keys for c, keys in members.publics.items() if len(keys) == 2 * KEY_BYTES}
        near = {c: [m for m in self._terms.neighbours(c) if m in publics] for c in publics}
        asked = {
            client: {"publics": pack_rows({m: publics[m] for m in others})}
            for client, others in near.items()
        }
        told = members.ask("shares", asked, _shared)
        members.require_enough("shares", told)
        self._commitments = {client: commitment for client, (_, commitment) in told.items()}
        self._mask_keys = {client: publics[client][KEY_BYTES:] for client in told}
        prepared = {}
        for holder in told:
            sealed = {m: told[m][0].get(holder) for m in near[holder] if m in told}
            prepared[holder] = {"boxes": pack_rows({m: box for m, box in sealed.items() if box})}
        return prepared

    def add(self, client: int, content: RecordDict) -> Words:
        array = content.array_records["arrays"][SUM]
        if len(array.data) > self._total.nbytes + 1024:  # before anything is unpacked
            raise ValueError(f"masked words of {len(array.data)} bytes")
        words: Words = array.numpy()
        if words.shape != self._total.shape or words.dtype != self._total.dtype:
            raise ValueError(f"masked words are {words.dtype}{list(words.shape)}")
        self._total += words
        return words

    def open(self, members: Members, survivors: list[int]) -> Words:
        asked = {client: {"survivors": _list(survivors)} for client in survivors}
        revealed = members.ask("unmask", asked, lambda told: unpack_rows(told["parts"], PART_BYTES))
        unmasking = Unmasking(self._terms, self._mask_keys, self._commitments)
        return unmasking.unmask(self._total, set(survivors), revealed)


class Ckks:
    """privacy.sums.encrypted_sum's server."""

    def __init__(self, terms: Terms) -> None:
        from privacy.sums.encrypted_sum import EncryptedSum  # TenSEAL takes a while to import

        self._sum = EncryptedSum(terms.length + TRAILER)
        self._size_bytes = 4 * (terms.length + TRAILER)

    def prepare(self, members: Members) -> dict[int, dict[str, Any]]:
        channels = {c: key for c, key in members.publics.items() if len(key) == KEY_BYTES}
        asked = {"publics": pack_rows(channels)}
        read = partial(_sealed, num=len(channels) - 1)
        for dealer, public in channels.items():
            told = members.ask("shares", {dealer: asked}, read)
            left = set(channels) - set(members.failures)
            if dealer in told:
                boxes = told[dealer]
                sealed = {"dealer": dealer, "public": public}
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
        asked = {"survivors": _list(survivors), "ciphertexts": self._sum.parts()}
        for client in survivors:
            for words in members.ask("unmask", {client: asked}, self._words).values():
                return words
        raise SecureSumFailed("secure aggregation: no survivor decrypted the sum")


SCHEMES: dict[str, Callable[[Terms], Scheme]] = {"masks": Masks, "ckks": Ckks}


def _shared(told: Told) -> tuple[dict[int, bytes], bytes]:
    """Sealed parts by holder, and a commitment."""
    return unpack_rows(told["boxes"], 2 * PART_BYTES + TAG_BYTES), bytes(told["commitment"])


def _sealed(told: Told, num: int) -> dict[int, bytes]:
    """A sealed key for each of so many."""
    size_bytes = len(told["boxes"]) // num - 4
    if not 0 < size_bytes < MOST_KEY_BYTES:
        raise ValueError(f"sealed keys of {size_bytes} bytes")
    return unpack_rows(told["boxes"], size_bytes)


def _list(members: list[int]) -> bytes:
    return pack_rows(dict.fromkeys(members, b""))
