"""Entries of a ledger: merged, written, read back, never forgotten."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ledger import DELTA

from privacy.dp.discrete import epsilon_of_sum
from privacy.dp.ledger import Ledger, Spent

entry_lists = st.lists(
    st.builds(
        Spent,
        st.sampled_from([0.0, 0.5, 1.0, 1.1, 2.0]) | st.floats(0, 100),
        st.sampled_from([0.1, 0.5, 1.0]) | st.floats(1e-6, 1),
        st.integers(0, 10**6),
        st.sampled_from([0.0, 2.0**-80, 2.0**-78]),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(entries=entry_lists, data=st.data())
def test_order_does_not_matter(entries: list[Spent], data: st.DataObject) -> None:
    """Charges add up by mechanism, in any order and in any portions."""
    shuffled = data.draw(st.permutations(entries))
    one_by_one = Ledger()
    for e in shuffled:
        key, half = (e.noise_multiplier, e.sample_rate), e.steps // 2
        one_by_one.charge(*key, half, e.divergence / 2 if half else 0.0)
        off = e.divergence / 2 if half else e.divergence
        one_by_one = one_by_one.with_charge(*key, e.steps - half, off)
    assert one_by_one.entries == Ledger(entries).entries
    assert sum(e.steps for e in one_by_one.entries) == sum(e.steps for e in entries)


@settings(max_examples=60, deadline=None)
@given(entries=entry_lists)
def test_json_round_trip(entries: list[Spent]) -> None:
    """What is written is what is read, to the last bit."""
    before = Ledger(entries)
    assert Ledger.from_json(before.to_json()).entries == before.entries


@settings(max_examples=60, deadline=None)
@given(ours=entry_lists, theirs=entry_lists)
def test_restore_never_forgets(ours: list[Spent], theirs: list[Spent]) -> None:
    """After `restore` each mechanism has the greater of the two counts."""

    def counts(ledger: Ledger) -> dict[tuple[float, float], int]:
        return {(e.noise_multiplier, e.sample_rate): e.steps for e in ledger.entries}

    a, b = Ledger(ours), Ledger(theirs)
    before = counts(a)
    a.restore(b)
    every = before.keys() | counts(b).keys()
    assert counts(a) == {k: max(before.get(k, 0), counts(b).get(k, 0)) for k in every}


def test_restore_of_an_older_copy_changes_nothing() -> None:
    """A stale file cannot take back what was spent since."""
    ledger = Ledger([Spent(1.0, 0.1, 10)])
    stale = Ledger.from_json(ledger.to_json())
    ledger.charge(1.0, 0.1, 5)
    ledger.restore(stale)
    assert ledger.entries == (Spent(1.0, 0.1, 15),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spam",
        "3",
        "null",
        "[1]",
        "[[1, 0.1]]",
        "[[1, 0.1, 2, -3]]",
        '[["a", 0.1, 2]]',
        "[[null, 0.1, 2]]",
        "[[-1, 0.1, 2]]",
        "[[1, 0, 2]]",
        "[[1, 1.5, 2]]",
        "[[1, -0.1, 2]]",
        "[[1, 0.1, -2]]",
        "[[NaN, 0.1, 2]]",
        "[[1, NaN, 2]]",
        "[[1, 0.1, NaN]]",
    ],
)
def test_from_json_refuses(text: str) -> None:
    """Garbage and numbers out of range are a ValueError that says so."""
    with pytest.raises(ValueError, match="not a ledger"):
        Ledger.from_json(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[[1, 0.1, Infinity]]", id="infinite steps: OverflowError"),
        pytest.param(f"[[1{'0' * 400}, 0.1, 3]]", id="huge sigma: OverflowError"),
        pytest.param("[[Infinity, 0.1, 3]]", id="infinite sigma: accepted"),
        pytest.param("[[1, 0.1, 2.9]]", id="fraction of a step: dropped"),
    ],
)
def test_from_json_refuses_the_infinite_and_the_fractional(text: str) -> None:
    """The same for infinities and for steps that are not whole (they would be forgotten)."""
    with pytest.raises(ValueError, match="not a ledger"):
        Ledger.from_json(text)


def test_ledger_only_grows() -> None:
    """Negative steps are refused; no steps leave no entry; nothing spent is epsilon 0."""
    ledger = Ledger()
    with pytest.raises(ValueError, match="only grows"):
        ledger.charge(1.0, 0.1, -1)
    ledger.charge(1.0, 0.1, 0)
    assert ledger.entries == ()
    assert ledger.epsilon(DELTA) == 0.0


def test_with_charge_is_a_copy() -> None:
    """Planning does not spend."""
    ledger = Ledger([Spent(1.0, 0.1, 3)])
    planned = ledger.with_charge(1.0, 0.1, 4)
    assert (ledger.entries, planned.entries) == ((Spent(1.0, 0.1, 3),), (Spent(1.0, 0.1, 7),))


def test_zero_noise_is_infinite() -> None:
    """One step without noise among a thousand with it is epsilon = inf."""
    ledger = Ledger([Spent(5.0, 0.1, 1000), Spent(0.0, 0.1, 1)])
    assert ledger.epsilon(DELTA) == math.inf
    assert not ledger.within(1e9, DELTA)


def test_noise_that_is_off_is_charged_to_delta() -> None:
    """By every accountant; and where it leaves nothing of delta, nothing is promised."""
    off = 2 * 1e-10**2  # 1e-10 in total variation
    for sigma, rate, epsilon_of in (
        (1.0, 0.1, Ledger.epsilon),
        (1.0, 0.1, Ledger.renyi_epsilon),
        (8.0, 1.0, lambda ledger, delta: epsilon_of_sum(ledger.entries, delta)),
    ):
        exact, drawn = (Ledger([Spent(sigma, rate, 100, d)]) for d in (0.0, off))
        found = epsilon_of(drawn, DELTA)
        paid = (1 + math.exp(found)) * 1e-10
        assert epsilon_of(exact, DELTA - paid) <= found
        assert epsilon_of(exact, DELTA) < found < 1.01 * epsilon_of(exact, DELTA)
        assert epsilon_of(Ledger([Spent(sigma, rate, 100, 1e6 * off)]), DELTA) > found
    assert Ledger([Spent(1.0, 0.1, 100, DELTA**2)]).epsilon(DELTA) == math.inf
    assert not Ledger([Spent(1.0, 0.1, 100, DELTA**2)]).within(1e3, DELTA)
