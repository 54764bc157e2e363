"""A device's part in a sum that the server cannot take apart: its phases, one message each.

What must be known from phase to phase of one sum lies in Flower's `context.state`, as a
ConfigRecord of keys and bytes. Its own secrets are forgotten when it unmasks, the rest when a new
sum begins. See privacy.sums.masking and privacy.sums.sum_keys.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from clients.seeds import round_key
from clients.training.job import Job
from privacy.cipher import Key
from privacy.dp.discrete import LEAST, discrete_gaussian
from privacy.errors import SecureSumFailed
from privacy.sums.boxes import KEY_BYTES, pack_rows, unpack_rows
from privacy.sums.fixed_point import Words
from privacy.sums.masking import BOX_BYTES, Member
from privacy.sums.terms import Terms

if TYPE_CHECKING:
    from privacy.sums.sum_keys import KeyHolder

SUM = "sum"  # the record of a message, and of the context's state, that is about the sum
POLICY = "secure-aggregation"  # a node's own setting: it then trains for such a sum only

Fields = Mapping[str, Any]
Weights = Mapping[str, NDArray]
Phase = Callable[[RecordDict, RecordDict, int], Fields]  # a message, the state, the client


def advertise(content: RecordDict, state: RecordDict, client: int) -> Fields:
    """Phase 1, `query.keys`: check the terms, make keys, tell their public halves."""
    terms = Terms.from_json(str(content.config_records[SUM]["terms"]))
    one = _kind(terms.scheme)(terms, client)
    publics = one.advertise()
    _keep(state, one)
    return {"publics": b"".join(publics)}


def share(content: RecordDict, state: RecordDict, client: int) -> Fields:
    """Phase 2, `query.shares`: sealed parts for the neighbours, or a sealed key for all."""
    told, one = _agreed(content, state, client)
    if isinstance(one, Member):
        pairs = unpack_rows(told["publics"], 2 * KEY_BYTES)
        boxes, commitment = one.share({m: (k[:KEY_BYTES], k[KEY_BYTES:]) for m, k in pairs.items()})
        _keep(state, one)
        return {"boxes": pack_rows(boxes), "commitment": commitment}
    boxes = one.deal(unpack_rows(told["publics"], KEY_BYTES))
    _keep(state, one)
    return {"boxes": pack_rows(boxes)}


def reveal(content: RecordDict, state: RecordDict, client: int) -> Fields:
    """Phase 4, `query.unmask`: parts of the masks left in the sum, or the sum decrypted."""
    told, one = _agreed(content, state, client)
    survivors = list(unpack_rows(told["survivors"], 0))
    if isinstance(one, Member):
        parts = one.reveal(survivors)
        one.forget()
        _keep(state, one)
        return {"parts": pack_rows(parts)}
    total = one.reveal(told["ciphertexts"], len(survivors))
    return {"words": total.tobytes()}


PHASES: dict[str, Phase] = {
    "keys": advertise,
    "shares": share,
    "unmask": reveal,
}


def require_sum(content: RecordDict, context_state: RecordDict, node: Fields, client: int) -> bool:
    """Before any training: is this for a sum, and one that this client has agreed to?

    Raises:
        SecureSumFailed: it is for another sum, or in the clear where the node's owner forbade it.
    """
    policy = str(node.get(POLICY, "none"))
    if SUM not in content:
        if policy != "none":
            raise SecureSumFailed(f"this node trains under secure_aggregation = {policy!r} only")
        return False
    _, one = _agreed(content, context_state, client)
    if isinstance(one, Member) and one.has_masked:
        raise SecureSumFailed("this sum was masked already: the message is a replay")
    if policy not in ("none", one.terms.scheme):
        raise SecureSumFailed(f"this node trains under secure_aggregation = {policy!r} only")
    return True


def digest_of(content: RecordDict) -> bytes:
    """Of the terms of the sum that a message is for."""
    told: Fields = content.config_records[SUM]
    return bytes(told["digest"])


def conceal(
    content: RecordDict, state: RecordDict, client: int, job: Job, before: Weights, after: Weights,
    num_examples: int,
) -> RecordDict:  # fmt: skip
    """Phase 3, `train`: what leaves the device of an update from `before` to `after`."""
    told, one = _agreed(content, state, client)
    update = flatten(after) - flatten(before)
    if len(update) != one.terms.length:
        raise SecureSumFailed(f"an update of {len(update)} numbers, not {one.terms.length}")
    words = _words(one.terms, job, client, update, num_examples)
    digest = ConfigRecord({"digest": one.terms.digest})
    if isinstance(one, Member):
        masked = one.conceal(words, unpack_rows(told["boxes"], BOX_BYTES))
        _keep(state, one)
        return RecordDict({"arrays": ArrayRecord({SUM: Array(masked)}), SUM: digest})
    if told["dealer"] != client:
        one.receive(told["dealer"], told["public"], told["box"])
        _keep(state, one)
    digest["ciphertexts"] = one.conceal(words)
    return RecordDict({SUM: digest})


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
