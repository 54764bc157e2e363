"""A device's part in a sum that the server cannot take apart: its phases, one message each.

What must be known from phase to phase of one sum lies in Flower's `context.state`, as a
ConfigRecord of keys and bytes. Its own secrets are forgotten when it unmasks, the rest when a new
sum begins. See privacy.sums.masking and privacy.sums.sum_keys.

What its owner knows of the other members, and which steps it took, lies in files that the node's
config names:

members           folder of the members' public node keys: privacy.sums.roster
key               the device's own private node key
fewest-members    whose sum it takes part in, at least
ledger            beside it, with `.sums`, its marks: privacy.sums.marks

A simulated device has neither: it believes the server on who takes part.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict
from numpy.typing import NDArray

from clients.draws import round_key
from clients.training.job import Job
from privacy.cipher import Key
from privacy.documents import to_json
from privacy.dp.discrete import LEAST, discrete_gaussian
from privacy.dp.ledger import Ledger
from privacy.errors import KeysError, SecureSumFailed, SettingsError
from privacy.sums.boxes import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    pack_list,
    pack_rows,
    unpack_rows,
)
from privacy.sums.fixed_point import Words
from privacy.sums.marks import Marks
from privacy.sums.masking import Member, list_digest
from privacy.sums.masks import BOX_BYTES, PROOF_BYTES, PUBLIC_BYTES
from privacy.sums.roster import Roster, read_roster
from privacy.sums.terms import FEWEST, Terms

if TYPE_CHECKING:
    from privacy.sums.sum_keys import KeyHolder

SUM = "sum"  # the record of a message, and of the context's state, that is about the sum
TASK = "task"  # the record of the state that is about what was last trained for a sum
POLICY = "secure-aggregation"  # a node's own setting: it then trains for such a sum only

log = logging.getLogger("privet")

Fields = Mapping[str, Any]
Weights = Mapping[str, NDArray]


@dataclass(frozen=True)
class Place:
    """A device's place among the members of sums.

    Attributes:
        client: its number.
        policy: the one scheme under which it trains, or `none`: under any, and in the clear.
        roster: the members that its owner knows; None for a device that has no such list.
        marks: of the steps that it took; None for a simulated device.
    """

    client: int
    policy: str = "none"
    roster: Roster | None = None
    marks: Marks | None = None

    @classmethod
    def of(cls, context: Context) -> "Place":
        """As the node's config says.

        Raises:
            SecureSumFailed: the roster cannot be read.
            SettingsError: there are members, and no key to go with them.
        """
        config = context.node_config
        client, roster = int(config["partition-id"]), None
        if "members" in config:
            if "key" not in config:
                raise SettingsError('node config: members without key: add key="FILE"')
            folder, key = Path(str(config["members"])), Path(str(config["key"]))
            fewest = int(config.get("fewest-members", FEWEST))
            try:
                roster = read_roster(folder, key, client, fewest)
            except KeysError as error:
                log.error("%s", error)  # it names files: not for the server
                raise SecureSumFailed("the device cannot read its list of members") from None
        ledger = config.get("ledger")
        marks = Marks(Path(f"{ledger}.sums")) if ledger else None
        return cls(client, str(config.get(POLICY, "none")), roster, marks)

    def mark(self, terms: Terms, step: str, asked: bytes = b"", *, again: bool = False) -> None:
        """Before a step of a sum, so that it is not taken twice: see `Marks.take`."""
        if self.marks:
            self.marks.take(terms, step, asked, again=again)

    def known(self, terms: Terms, publics: Mapping[int, bytes], told: Fields) -> dict[int, bytes]:
        """Of public keys those that their members signed; all of them where there is no roster."""
        if not self.roster:
            return dict(publics)
        signatures = unpack_rows(told["signatures"], SIGNATURE_BYTES, len(publics))
        return {
            member: public
            for member, public in publics.items()
            if self.roster.vouches_for(terms, member, public, signatures.get(member, b""))
        }


Phase = Callable[[RecordDict, RecordDict, Place], Fields]  # a message, and the state


def advertise(content: RecordDict, state: RecordDict, place: Place) -> Fields:
    """Phase 1, `query.keys`: check the terms, make keys, tell their public halves."""
    terms = Terms.from_json(str(content.config_records[SUM]["terms"]))
    one = _kind(terms.scheme)(terms, place.client)
    publics = one.advertise()
    told = {"publics": publics}
    if isinstance(one, Member):
        told["drawn"] = pack_list(one.drawn)
    if place.roster:
        place.roster.require_known(terms)
        told["signature"] = place.roster.sign(terms, place.client, publics)
    _keep(state, one)
    return told


def share(content: RecordDict, state: RecordDict, place: Place) -> Fields:
    """Phase 2, `query.shares`: sealed parts for the neighbours, or a sealed key for all."""
    told, one = _agreed(content, state, place.client)
    size_bytes = PUBLIC_BYTES if isinstance(one, Member) else KEY_BYTES
    publics = unpack_rows(told["publics"], size_bytes, len(one.terms.members))
    known = place.known(one.terms, publics, told)
    place.mark(one.terms, "share")
    if isinstance(one, Member):
        dealt = one.share(known)
        _keep(state, one)
        return {
            "boxes": pack_rows(dealt.boxes),
            "proofs": pack_rows(dealt.proofs),
            "commitment": dealt.commitment,
            "refused": pack_list(set(publics) - set(known)),
        }
    boxes = one.deal(known)
    _keep(state, one)
    return {"boxes": pack_rows(boxes), "num": len(boxes)}


def reveal(content: RecordDict, state: RecordDict, place: Place) -> Fields:
    """Phase 4, `query.unmask`: parts of the masks left in the sum, or the sum decrypted."""
    told, one = _agreed(content, state, place.client)
    survivors = list(unpack_rows(told["survivors"], 0, len(one.terms.members)))
    if isinstance(one, Member):
        parts = one.reveal(survivors)
        place.mark(one.terms, "unmask", list_digest(survivors), again=True)
        one.forget()
        _keep(state, one)
        return {"parts": pack_rows(parts)}
    asked = hashlib.sha256(b"".join(told["ciphertexts"])).digest()
    place.mark(one.terms, "unmask", asked, again=True)
    total = one.reveal(told["ciphertexts"], len(survivors))
    return {"words": total.tobytes()}


PHASES: dict[str, Phase] = {
    "keys": advertise,
    "shares": share,
    "unmask": reveal,
}


def require_sum(content: RecordDict, state: RecordDict, place: Place) -> bool:
    """Before any training: is this for a sum, and one that this client has agreed to?

    Raises:
        SecureSumFailed: it is for another sum, or in the clear where the node's owner forbade it,
            or asks for something else than the sum's terms say that all members are asked.
    """
    if SUM not in content:
        if place.policy != "none":
            raise SecureSumFailed(
                f"this node trains under secure_aggregation = {place.policy!r} only"
            )
        return False
    _, one = _agreed(content, state, place.client)
    if isinstance(one, Member) and one.has_masked:
        raise SecureSumFailed("this sum was masked already: the message is a replay")
    if place.policy not in ("none", one.terms.scheme):
        raise SecureSumFailed(f"this node trains under secure_aggregation = {place.policy!r} only")
    if task_of(content) != one.terms.task:
        raise SecureSumFailed(
            "asked to train other weights or another job than the members of this sum agreed on"
        )
    return True


def digest_of(content: RecordDict) -> bytes:
    """Of the terms of the sum that a message is for."""
    told: Fields = content.config_records[SUM]
    return bytes(told["digest"])


def task_of(content: RecordDict) -> str:
    """SHA-256, in hex, of what a message asks to be trained: weights and settings.

    It is the same for all members of a sum; what a resumed run reminds each device of is not.
    """
    config = dict(content.config_records["config"])
    config.pop("ledger", None)
    total = hashlib.sha256(to_json(config, sort_keys=True, default=repr).encode())
    for name, array in sorted(content.array_records["arrays"].items()):
        about = [name, array.dtype, list(array.shape), array.stype, len(array.data)]
        total.update(to_json(about).encode())
        total.update(array.data)
    return total.hexdigest()


def ledger_before(state: RecordDict, content: RecordDict, ledger: Ledger) -> Ledger:
    """What a simulated device had spent before it was asked this for the first time.

    A sum that failed is tried again without who lied. The answer to the same task from the same
    seed is the same to the bit: it costs once.
    """
    task, kept = task_of(content), state.config_records.get(TASK)
    if kept and kept["task"] == task:
        return Ledger.from_json(str(kept["ledger"]))
    state[TASK] = ConfigRecord({"task": task, "ledger": ledger.to_json()})
    return ledger


def conceal(
    content: RecordDict, state: RecordDict, place: Place, job: Job, before: Weights, after: Weights,
    num_examples: int,
) -> RecordDict:  # fmt: skip
    """Phase 3, `train`: what leaves the device of an update from `before` to `after`."""
    told, one = _agreed(content, state, place.client)
    update = flatten(after) - flatten(before)
    if len(update) != one.terms.length:
        raise SecureSumFailed(f"an update of {len(update)} numbers, not {one.terms.length}")
    words = _words(one.terms, job, place.client, update, num_examples)
    reply = ConfigRecord({"digest": one.terms.digest})
    place.mark(one.terms, "mask")
    if isinstance(one, Member):
        most = len(one.terms.members)
        masked, refused = one.conceal(
            words,
            list(unpack_rows(told["there"], 0, most)),
            unpack_rows(told["boxes"], BOX_BYTES, most),
            unpack_rows(told["proofs"], 2 * PROOF_BYTES, most),
        )
        _keep(state, one)
        reply["refused"] = pack_list(refused)
        return RecordDict({"arrays": ArrayRecord({SUM: Array(masked)}), SUM: reply})
    if told["dealer"] != place.client:
        dealer = int(told["dealer"])
        if not place.known(one.terms, {dealer: told["public"]}, told):
            raise SecureSumFailed(f"client {dealer}'s key is not signed by its node key")
        one.receive(dealer, told["public"], told["box"])
        _keep(state, one)
    reply["ciphertexts"] = one.conceal(words)
    return RecordDict({SUM: reply})


def flatten(weights: Weights) -> NDArray[np.float64]:
    """All numbers of a model, its arrays in the order of their names."""
    return np.concatenate([weights[name].ravel() for name in sorted(weights)]).astype(np.float64)


def _words(
    terms: Terms, job: Job, client: int, update: NDArray[np.float64], num_examples: int
) -> Words:
    """On the grid; under `unit = "client"` clipped, with this client's share of the noise."""
    budget = job.budget
    if budget.unit != "client":
        return terms.grid.encode(update, min(num_examples, terms.most_examples))
    least = (budget.noise_multiplier or 0.0) * terms.clip * terms.scale * (1 - 1e-9)
    short = terms.deviation * math.sqrt(terms.survivors) < least
    coarse = least and terms.deviation < LEAST  # nothing is proved of sums of coarser noise
    if not 0 < terms.clip <= budget.clip or short or coarse:
        raise SecureSumFailed("the shares of noise would not add up to what the budget wants")
    if not terms.deviation:
        return terms.grid.encode_noisy(update, terms.clip, np.zeros(len(update), np.int64))
    secure = job.training.noise != "seeded"
    shapes = (job.model_dump_json(exclude={"data"}), update.tobytes(), terms.round, client)
    key = Key.secret() if secure else round_key(job.seed, "noise share", *shapes)
    noise = discrete_gaussian(terms.deviation, len(update), key)
    return terms.grid.encode_noisy(update, terms.clip, noise)


def _kind(scheme: str) -> "type[Member] | type[KeyHolder]":
    if scheme == "masks":
        return Member
    from privacy.sums.sum_keys import KeyHolder  # TenSEAL takes a while to import

    return KeyHolder


def _agreed(content: RecordDict, state: RecordDict, client: int) -> tuple[Fields, Any]:
    """What a message says, and the sum that it is about, as it was kept.

    Raises:
        SecureSumFailed: it is about a sum that this client has not agreed to, or no longer.
    """
    told = content.config_records[SUM]
    kept = state.config_records.get(SUM)
    if kept is None:
        raise SecureSumFailed("no sum was agreed on")
    one = _kind(Terms.from_json(str(kept["terms"])).scheme).of_fields(kept)
    if told["digest"] != one.terms.digest or one.me != client:
        raise SecureSumFailed("a message of another sum")
    return told, one


def _keep(state: RecordDict, one: "Member | KeyHolder") -> None:
    state[SUM] = ConfigRecord(dict(one.fields()))
