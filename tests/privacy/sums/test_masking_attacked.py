"""A server that lies to members of a sum, and members that lie to it, without any engine."""

import numpy as np
import pytest
from oracles_secure import Sum, member, terms_for
from test_masking import D, added, looks_uniform, random_words

from privacy.errors import SecureSumFailed
from privacy.sums.masking import Member
from privacy.sums.masks import PART_BYTES, own_mask
from privacy.sums.terms import Secure, degree_for

# ---- other models for other clients


def test_masks_of_members_that_were_sent_different_models_do_not_cancel():
    """Pasquini et al. 2022: five say nothing but zeros, so the sum would be the victim's update."""
    length = 20_000
    victims, others = (terms_for(range(6), length, task=t * 64) for t in "ab")
    zeros = others.grid.encode(np.zeros(length), 1)
    secret = victims.grid.encode(np.random.default_rng(0).normal(size=length), 1)

    def attack(terms_of_victim):
        one = Sum(others, {c: zeros for c in range(6)})
        one.members[0] = member(terms_of_victim, 0, np.random.default_rng(9))
        one.words[0] = secret
        one.keys()
        one.shares()
        one.mask()
        return one

    told_one = attack(others)
    assert np.array_equal(told_one.unmask(), added(told_one.words, range(6)))
    told_two = attack(victims)
    assert told_two.refused == {0: {1, 2, 3, 4, 5}, **{c: {0} for c in range(1, 6)}}
    with pytest.raises(SecureSumFailed, match="of client 0's masks were told, 4 are needed"):
        told_two.unmask()
    # Even with all own masks off, for which it needs the victim's seed, those of pairs stay on.
    left = told_two.total.copy()
    for one in told_two.members.values():
        left -= own_mask(one.seed, one.terms, left)
    assert abs(np.corrcoef(left.view(np.int32), secret.view(np.int32))[0, 1]) < 4 / length**0.5
    assert min(looks_uniform(left)) > 0.001


# ---- who the neighbours are


def test_a_degree_less_than_the_number_of_members_demands_is_refused():
    for degree in (2, 4, 34, 60, 1000):
        terms = terms_for(range(60), D).model_copy(update={"degree": degree, "needed": degree})
        with pytest.raises(SecureSumFailed, match=f"{degree} neighbours among 60 members: 36 are"):
            member(terms, 0, np.random.default_rng(0)).advertise()
    for degree, needed in ((36, 38), (36, 18), (40, 20)):
        terms = terms_for(range(60), D).model_copy(update={"degree": degree, "needed": needed})
        with pytest.raises(SecureSumFailed, match="no more than half"):
            member(terms, 0, np.random.default_rng(0)).advertise()


def test_nobody_but_a_member_has_a_say_in_its_neighbours():
    """The same terms, nonce and keys: other neighbours each time, each of all as often."""
    terms = terms_for(range(60), D)
    counts = np.zeros(60, int)
    for _ in range(300):
        one = member(terms, 0, np.random.default_rng(0))
        one.advertise()
        assert len(one.drawn) == terms.degree == degree_for(60, 0.5)
        counts[list(one.drawn)] += 1
    assert counts[0] == 0
    expected = 300 * terms.degree / 59
    assert np.abs(counts[1:] - expected).max() < 5 * np.sqrt(expected)


def test_a_server_cannot_thin_out_the_neighbours_of_a_victim():
    """It may say of some that they are gone; not of so many that half of the holders are left."""
    terms = terms_for(range(60), D)
    one = Sum(terms, random_words(terms)[2])
    one.keys()
    drawn = sorted(one.members[0].drawn)
    few = [*drawn[: terms.needed - 2], *(set(range(1, 60)) - set(drawn))]  # others do not count
    with pytest.raises(SecureSumFailed, match=f"has {terms.needed - 2} neighbours left"):
        one.members[0].share({m: one.publics[m] for m in few})
    one.shares()
    there, boxes, proofs = one.boxes_for(0)
    few = [m for m in there if m not in drawn[terms.needed - 2 :]]
    with pytest.raises(SecureSumFailed, match=f"has {terms.needed - 2} neighbours left"):
        one.members[0].conceal(one.words[0], few, boxes, proofs)


def test_a_sum_has_three_survivors_or_more():
    """Of the sum of two, each knows what the other said."""
    assert [Secure().fewest(members) for members in (3, 4, 5, 10)] == [3, 3, 3, 6]
    terms = terms_for(range(3), D).model_copy(update={"survivors": 2})
    with pytest.raises(SecureSumFailed, match="a sum of 2 tells each what the other said"):
        member(terms, 0, np.random.default_rng(0)).advertise()


@pytest.mark.parametrize("clients", [10, 60])
def test_all_masks_cancel_whoever_drew_whom(clients):
    terms = terms_for(range(clients), D)
    _, _, words = random_words(terms)
    for seed in range(3):
        lost = {"shares": {1, 2}, "train": {3}, "unmask": {4}}
        total = Sum(terms, words, seed, lost).run()
        assert np.array_equal(total, added(words, set(range(clients)) - {1, 2, 3}))


# ---- members that lie


def lying(monkeypatch, method, who, change):
    """Members `who` tell something else than an honest one would."""
    honest = getattr(Member, method)

    def lie(self, *arguments):
        told = honest(self, *arguments)
        return change(self, told) if self.me in who else told

    monkeypatch.setattr(Member, method, lie)


LIES = {
    "zeros": lambda self, told: {m: bytes(PART_BYTES) for m in told},
    "noise": lambda self, told: {m: bytes([7]) * PART_BYTES for m in told},
    "nothing": lambda self, told: {m: b"" for m in told},
    "of another": lambda self, told: dict(zip(told, [*told.values()][::-1], strict=True)),
    "not its own": lambda self, told: {**told, **{m: bytes(PART_BYTES) for m in range(200)}},
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("clients", [6, 60])
def test_a_lie_among_the_parts_is_named_and_the_sum_is_made_of_others(monkeypatch, lie, clients):
    lying(monkeypatch, "reveal", {2, 5}, LIES[lie])
    terms = terms_for(range(clients), D)
    _, _, words = random_words(terms)
    one = Sum(terms, words, lost={"train": {3}} if clients == 60 else {})
    expected = set(range(clients)) - ({3} if clients == 60 else set())
    assert np.array_equal(one.run(), added(words, expected))
    assert one.unmasking.liars == {2, 5}


def test_too_many_liars_are_named_and_the_sum_stays_masked(monkeypatch):
    lying(monkeypatch, "reveal", {0, 2, 5}, LIES["zeros"])
    terms = terms_for(range(6), 20_000)
    one = Sum(terms, {c: terms.grid.encode(np.zeros(20_000), 1) for c in range(6)})
    with pytest.raises(SecureSumFailed, match=r"stays masked \(lied: clients \[0, 2, 5\]\)"):
        one.run()
    assert one.unmasking.liars == {0, 2, 5}
    assert min(looks_uniform(one.total)) > 0.001


def test_a_dealer_whose_boxes_do_not_open_is_named(monkeypatch):
    def unreadable(self, dealt):
        dealt.boxes.update({m: bytes(len(box)) for m, box in dealt.boxes.items()})
        return dealt

    lying(monkeypatch, "share", {4}, unreadable)
    terms = terms_for(range(6), D)
    one = Sum(terms, random_words(terms)[2])
    with pytest.raises(SecureSumFailed, match="stays masked"):
        one.run()
    assert one.unmasking.liars == {4}


def test_a_dealer_whose_parts_are_of_no_secret_of_its_is_named(monkeypatch):
    """Each part fits its proof, and together they give something else: nobody else did that."""

    def another(self, dealt):
        return type(dealt)(dealt.boxes, dealt.proofs, bytes(32))

    lying(monkeypatch, "share", {4}, another)
    terms = terms_for(range(6), D)
    one = Sum(terms, random_words(terms)[2])
    with pytest.raises(SecureSumFailed, match="client 4's masks are not of its secret"):
        one.run()
    assert one.unmasking.liars == {4}


def test_few_holders_cannot_make_a_liar_of_an_honest_member(monkeypatch):
    """Two of six refuse the parts of client 1 for no reason: its other holders are enough."""

    def refuse(self, told):
        self.held.pop(1)
        return told[0], [*told[1], 1]

    lying(monkeypatch, "conceal", {4, 5}, refuse)
    terms = terms_for(range(6), D)
    _, _, words = random_words(terms)
    one = Sum(terms, words)
    assert np.array_equal(one.run(), added(words, range(6)))
    assert one.unmasking.liars == set()
