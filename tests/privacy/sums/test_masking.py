"""Secure aggregation without any engine: sums are exact, single updates uniform, lies refused."""

import numpy as np
import pytest
from flwr.app import ConfigRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from oracles_secure import PHASES, Sum, member, terms_for
from scipy.stats import chisquare, kstest

from privacy.errors import SecureSumFailed
from privacy.sums import masking
from privacy.sums.fixed_point import most_of
from privacy.sums.masking import Member
from privacy.sums.terms import Secure, parts_needed

D = 40


def random_words(terms, seed=0, length=D):
    rng = np.random.default_rng(seed)
    updates = {c: rng.normal(size=length) for c in terms.members}
    weights = {c: int(rng.integers(1, 5000)) for c in terms.members}
    words = {c: terms.grid.encode(updates[c], weights[c]) for c in terms.members}
    return updates, weights, words


def added(words, clients):
    return np.sum([words[c] for c in clients], axis=0, dtype=next(iter(words.values())).dtype)


def looks_uniform(words):
    """p-values of a chi-square test of the bytes and of Kolmogorov and Smirnov's of the words."""
    counts = np.bincount(words.view(np.uint8), minlength=256)
    return chisquare(counts).pvalue, kstest(words / 2.0**32, "uniform").pvalue


# ---- the sum is the sum


@settings(max_examples=250, deadline=None)
@given(
    st.lists(arrays.arrays(np.float64, 12, elements=st.floats(-4, 4)), min_size=4, max_size=4),
    st.lists(st.integers(1, 65536), min_size=4, max_size=4),
    st.sampled_from([32, 64]),
)
def test_the_secure_sum_is_the_plain_sum(updates, weights, bits):
    """1,000 vectors, four to a sum: words to the bit, numbers to half a grid unit a client."""
    terms = terms_for(range(4), 12, secure=Secure(bits=bits))
    words = {c: terms.grid.encode(updates[c], weights[c]) for c in range(4)}
    total = Sum(terms, words).run()
    assert np.array_equal(total, added(words, range(4)))
    mean, examples, cut = terms.grid.decode(total)
    assert (examples, cut) == (sum(weights), 0)
    plain = np.sum([w * u for u, w in zip(updates, weights, strict=True)], axis=0)
    assert np.abs(mean - plain).max() <= 4 * 0.5 / terms.grid.scale + 1e-9


@given(st.integers(3, 2000), st.sampled_from([32, 64]))
def test_no_sum_can_wrap(clients, bits):
    assert clients * most_of(bits, clients) <= 2 ** (bits - 1) - 1
    terms = terms_for(range(3), 2)
    extreme = terms.grid.encode(np.array([1e9, -1e9]), 65536)
    assert list(extreme[:2].view(np.int32)) == [terms.grid.most, -terms.grid.most]
    assert extreme[3] == 2  # both were cut, and it is told
    assert terms.grid.decode(extreme * np.uint32(3))[0][0] == pytest.approx(3 * 4 * 65536, rel=1e-6)


def test_what_is_not_finite_is_not_sent():
    with pytest.raises(SecureSumFailed, match="not finite"):
        terms_for(range(3), 2).grid.encode(np.array([1.0, np.nan]))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("clients", [10, 60])
def test_thirty_per_cent_are_lost_in_any_phase(phase, clients):
    """In a graph of all, and in one of some: the survivors' sum is exact."""
    terms = terms_for(range(clients), D)
    assert (terms.degree < clients - 1) == (clients == 60)
    _, _, words = random_words(terms)
    lost = {*range(0, 3 * clients // 10)} if clients == 10 else {*range(1, 54, 3)}
    total = Sum(terms, words, lost={phase: lost}).run()
    expected = set(range(clients)) - (lost if phase != "unmask" else set())
    assert np.array_equal(total, added(words, expected))


def test_some_are_lost_in_every_phase():
    terms = terms_for(range(20), D)
    _, _, words = random_words(terms)
    lost = {"keys": {3, 9}, "shares": {0, 19}, "train": {5, 11}, "unmask": {7, 8}}
    total = Sum(terms, words, lost=lost).run()
    assert np.array_equal(total, added(words, set(range(20)) - {3, 9, 0, 19, 5, 11}))


def test_below_the_threshold_nothing_is_revealed():
    """Too few to unmask: the server is told so, and what it holds is uniform."""
    terms = terms_for(range(10), 20_000)
    words = {c: terms.grid.encode(np.zeros(20_000), 1) for c in range(10)}
    one = Sum(terms, words, lost={"unmask": range(5)})
    with pytest.raises(SecureSumFailed, match=r"5 parts of client 0's .* 6 are needed.*stays mask"):
        one.run()
    assert min(looks_uniform(one.total)) > 0.001
    with pytest.raises(SecureSumFailed, match="5 survivors, 6 are needed"):
        Sum(terms, words, lost={"train": range(5)}).run()
    with pytest.raises(SecureSumFailed, match="has 3 neighbours left; 5 are needed"):
        Sum(terms, words, lost={"shares": range(6)}).run()


# ---- one update alone


def test_a_masked_update_is_uniform_until_the_mask_is_sabotaged(monkeypatch):
    terms = terms_for(range(5), 50_000)
    rng = np.random.default_rng(1)
    words = {c: terms.grid.encode(0.01 * rng.normal(size=50_000), 600) for c in range(5)}
    one = Sum(terms, words)
    one.keys()
    one.shares()
    one.mask()
    for masked in one.masked.values():
        assert min(looks_uniform(masked)) > 0.001
        correlation = np.corrcoef(masked.view(np.int32), words[0].view(np.int32))[0, 1]
        assert abs(correlation) < 4 / np.sqrt(50_000)
    monkeypatch.setattr(masking, "own_mask", lambda seed, terms, like: np.zeros_like(like))
    monkeypatch.setattr(masking, "add_masks", lambda *_: None)
    bare = Sum(terms, words)
    bare.keys()
    bare.shares()
    bare.mask()
    assert max(looks_uniform(bare.masked[0])) < 1e-100


def test_either_mask_alone_hides_an_update(monkeypatch):
    """The own mask where all neighbours were opened, the neighbours' where the seed is."""
    terms = terms_for(range(5), 50_000)
    words = {c: terms.grid.encode(np.zeros(50_000), 600) for c in range(5)}
    for name, nothing in (
        ("own_mask", lambda seed, terms, like: np.zeros_like(like)),
        ("add_masks", lambda *_: None),
    ):
        with monkeypatch.context() as sabotage:
            sabotage.setattr(masking, name, nothing)
            one = Sum(terms, words)
            one.keys()
            one.shares()
            one.mask()
        assert min(looks_uniform(one.masked[0])) > 0.001


def test_masks_of_two_rounds_have_nothing_in_common():
    """The same keys under other terms give other masks: the nonce is in all of them."""
    masked = []
    for nonce in ("0" * 32, "1" * 32):
        terms = terms_for(range(3), 20_000, nonce=nonce)
        one = Sum(terms, {c: terms.grid.encode(np.zeros(20_000), 1) for c in range(3)})
        one.keys()
        one.shares()
        one.mask()
        masked.append(one.masked[0])
    assert min(looks_uniform(masked[0] - masked[1])) > 0.001


# ---- what a member refuses


@pytest.fixture
def masked():
    terms = terms_for(range(6), D)
    one = Sum(terms, random_words(terms)[2])
    one.keys()
    one.shares()
    one.mask()
    return one


def test_both_secrets_of_a_client_are_never_told(masked):
    """One list of survivors is answered, once or again; another is not."""
    first = masked.members[0].reveal([0, 1, 2, 3, 4])
    assert masked.members[0].reveal([4, 3, 2, 1, 0]) == first
    with pytest.raises(SecureSumFailed, match="second list"):
        masked.members[0].reveal([0, 1, 2, 3, 5])
    seeds, keys = masked.members[1].reveal(range(6)), masked.members[2].reveal([0, 1, 2, 3])
    assert {len(part) for part in [*seeds.values(), *keys.values()]} == {masking.PART_BYTES}


@pytest.mark.parametrize(
    ("survivors", "says"),
    [
        ([1, 2, 3, 4], "not in"),
        ([0, 1, 2], "3 survivors, 4 are needed"),
        ([0, 1, 2, 2], "not members"),
        ([0, 1, 2, 77], "not members"),
    ],
)
def test_a_list_of_survivors_must_make_sense(masked, survivors, says):
    with pytest.raises(SecureSumFailed, match=says):
        masked.members[0].reveal(survivors)


def test_two_lists_do_not_open_a_client():
    """A server that tells half of the holders one thing and half another gets too few of either."""
    for holders in range(3, 200):
        assert 2 * parts_needed(holders, 0.5) > holders


def test_words_are_given_once(masked):
    with pytest.raises(SecureSumFailed, match="masked already"):
        masked.members[0].conceal(masked.words[0], *masked.boxes_for(0))
    with pytest.raises(SecureSumFailed, match="already given out"):
        masked.members[0].share({m: masked.publics[m] for m in range(1, 6)})
    masked.members[0].reveal(range(6))
    masked.members[0].forget()
    assert masked.members[0].seed == masked.members[0].mask == b""
    assert masked.members[0].reveal(range(6))
    with pytest.raises(SecureSumFailed, match="already given out"):
        masked.members[0].share({m: masked.publics[m] for m in range(1, 6)})


def test_altered_replayed_and_foreign_parts_are_not_taken():
    """The server is told; the member takes part all the same, for others hold parts too."""
    terms, later = terms_for(range(4), D), terms_for(range(4), D, round_number=2)
    one, two = (Sum(t, random_words(t)[2]) for t in (terms, later))  # the same keys
    for each in (one, two):
        each.keys()
        each.shares()
    there, boxes, proofs = one.boxes_for(0)
    altered = bytearray(boxes[2])
    altered[5] ^= 1
    spoilt_boxes = [
        bytes(altered),
        boxes[3],  # of another sender
        one.dealt[2].boxes[1],  # for another holder
        two.dealt[2].boxes[0],  # of another round
        boxes[2][:-1],
        b"",
    ]
    kept = one.members[0].fields()
    for box in spoilt_boxes:
        again = Member.of_fields(kept)
        masked, refused = again.conceal(one.words[0], there, {**boxes, 2: box}, proofs)
        assert refused == [2]
        assert set(again.held) == {0, 1, 3}
    again = Member.of_fields(kept)
    assert again.conceal(one.words[0], there, boxes, {**proofs, 3: proofs[1]})[1] == [3]
    for strangers in ([*there, 9], [0, 1, 2]):
        with pytest.raises(SecureSumFailed, match="keys are not known"):
            Member.of_fields(kept).conceal(one.words[0], strangers, boxes, proofs)
    assert np.array_equal(one.members[0].conceal(one.words[0], there, boxes, proofs)[0], masked)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"needed": 3}, "no more than half"),
        ({"survivors": 3}, "no more than half"),
        ({"members": (0, 1)}, "fewer than 3"),
        ({"members": (1, 2, 3, 4)}, "client 0 is no member"),
        ({"members": (0, 1, 1, 2, 3, 4)}, "no member, or"),
        ({"clip": 1.0, "scale": 1e9}, "does not fit"),
    ],
)
def test_unsafe_terms_are_refused(change, says):
    terms = terms_for(range(6), D).model_copy(update=change)
    with pytest.raises(SecureSumFailed, match=says):
        member(terms, 0, np.random.default_rng(0)).advertise()


def test_a_member_is_kept_between_phases_as_plain_fields(masked):
    """Through Flower's own record, which holds numbers, text and bytes only."""
    for one in masked.members.values():
        again = Member.of_fields(ConfigRecord(one.fields()))
        assert again == one
        assert again.reveal(range(6)) == one.reveal(range(6))
        assert one.seed.hex() not in repr(one)
