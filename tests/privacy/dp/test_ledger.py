"""The ledger: epsilon agrees with Google's accountant, and nothing that was spent is forgotten."""

import math
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import GaussianAccountant

from privacy.dp import ledger
from privacy.dp.accounting import prv, solving
from privacy.dp.accounting.prv import epsilon_path, epsilon_spent
from privacy.dp.accounting.solving import solve_noise_multiplier
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import SettingsError

DELTA = 1e-5


MNIST = 60000


GRID = [
    (Spent(1.0, 512 / MNIST, 1755),),
    (Spent(2.0, 4096 / MNIST, 600),),
    (Spent(0.7, 256 / MNIST, 4700),),
    (Spent(1.0, 0.1, 1000),),
    (Spent(5.0, 0.5, 100),),
    (Spent(10.0, 1.0, 100),),
    (Spent(2.0, 0.1, 1),),
    (Spent(20.0, 0.1, 10),),
    (Spent(4.0, 1.0, 1),),
    (Spent(8.0, 0.3, 40),),
    (Spent(1.0, 512 / MNIST, 500), Spent(2.0, 0.05, 200)),
]


# One device: 600 records, batches of 64, 10 steps a round; 100 rounds; clients drawn at 0.1.
SIGMA, Q, STEPS_A_ROUND, ROUNDS, CLIENT_RATE = 1.0, 64 / 600, 10, 100, 0.1


ALL_ROUNDS = (Spent(SIGMA, Q, STEPS_A_ROUND * ROUNDS),)


TENTH_OF_ROUNDS = (Spent(SIGMA, Q, STEPS_A_ROUND * ROUNDS // 10),)


Accountant = Callable[[tuple[Spent, ...]], float]


@cache
def google(entries: tuple[Spent, ...]) -> float:
    """Epsilon by privacy loss distributions (dp-accounting): the oracle."""
    accountant = pld.PLDAccountant(value_discretization_interval=1e-4)
    for entry in entries:
        event: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(entry.noise_multiplier)
        if entry.sample_rate < 1:
            event = dp_accounting.PoissonSampledDpEvent(entry.sample_rate, event)
        accountant.compose(dp_accounting.SelfComposedDpEvent(event, entry.steps))
    return float(accountant.get_epsilon(DELTA))


def honest(accountant: Accountant, entries: tuple[Spent, ...]) -> bool:
    """Is the report at most 2 % above the oracle, and at most 0.5 % below?"""
    return -0.005 <= accountant(entries) / google(entries) - 1 <= 0.02


def ours(entries: tuple[Spent, ...]) -> float:
    """What a ledger that holds `entries` reports."""
    return Ledger(entries).epsilon(DELTA)


@pytest.mark.parametrize("entries", GRID, ids=str)
def test_epsilon_agrees_with_google(entries: tuple[Spent, ...]) -> None:
    """Within 2 % of dp-accounting, and never below it by more than 0.5 %."""
    assert honest(ours, entries), (ours(entries), google(entries))


def test_epsilon_of_participation() -> None:
    """The known numbers: 27.32 for a client in every round, 7.54 for one in a tenth of them."""
    assert honest(ours, ALL_ROUNDS)
    assert honest(ours, TENTH_OF_ROUNDS)
    assert ours(ALL_ROUNDS) == pytest.approx(27.32, rel=0.01)
    assert ours(TENTH_OF_ROUNDS) == pytest.approx(7.54, rel=0.01)


def _central_limit(entries: tuple[Spent, ...]) -> float:
    accountant = GaussianAccountant()
    accountant.history = [(e.noise_multiplier, e.sample_rate, e.steps) for e in entries]
    return float(accountant.get_epsilon(DELTA))


@pytest.mark.parametrize("entries", [TENTH_OF_ROUNDS, *GRID[:3]], ids=str)
def test_the_central_limit_accountant_is_caught(entries: tuple[Spent, ...]) -> None:
    """Twin: Opacus's GDP accountant reports less than was spent, and fails the same check."""
    assert not honest(_central_limit, entries)
    assert _central_limit(entries) < google(entries)


def test_a_ledger_that_forgets_rounds_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: a ledger that begins anew each round reports one round only."""

    def one_round(accountant: Accountant) -> Accountant:
        def report(entries: tuple[Spent, ...]) -> float:
            (entry,) = entries
            kept = Ledger()
            for _ in range(entry.steps // STEPS_A_ROUND):
                kept = kept.with_charge(entry.noise_multiplier, entry.sample_rate, STEPS_A_ROUND)
            return accountant(kept.entries)

        return report

    assert honest(one_round(ours), ALL_ROUNDS)

    def forgetful(self: Ledger, sigma: float, q: float, steps: int) -> Ledger:
        return Ledger([Spent(sigma, q, steps)])

    monkeypatch.setattr(Ledger, "with_charge", forgetful)
    assert not honest(one_round(ours), ALL_ROUNDS)


def test_amplification_by_client_rate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: q times the client rate reports 1.97 where 27.32 (or 7.54) was spent."""
    charge = Ledger.charge

    def amplified(self: Ledger, sigma: float, q: float, steps: int = 1, off: float = 0) -> None:
        charge(self, sigma, q * CLIENT_RATE, steps, off)

    monkeypatch.setattr(Ledger, "charge", amplified)
    assert ours(ALL_ROUNDS) == pytest.approx(1.97, rel=0.02)
    assert not honest(ours, ALL_ROUNDS)
    assert ours(ALL_ROUNDS) < google(TENTH_OF_ROUNDS) / 3  # even for the average client


def solved_well(epsilon: float, q: float, steps: int) -> bool:
    """Is what the solved noise spends in (0.99 epsilon, epsilon]?"""
    sigma = solving.solve_noise_multiplier(epsilon, DELTA, q, steps)
    return 0.99 * epsilon < epsilon_spent((Spent(sigma, q, steps),), DELTA) <= epsilon


@settings(max_examples=6, deadline=None)
@given(
    epsilon=st.floats(0.2, 10.0),
    q=st.sampled_from([0.002, 0.01, 0.05, 0.2, 0.5, 1.0]),
    steps=st.integers(1, 400),
)
def test_solved_noise_spends_the_target(epsilon: float, q: float, steps: int) -> None:
    """Never more than the target, and more than 99 % of it."""
    assert solved_well(epsilon, q, steps)


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_noise_solved_wrongly_is_caught(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: 3 % less noise overspends; 3 % more wastes."""
    solve = solving.solve_noise_multiplier
    assert solved_well(2.0, 0.05, 100)
    monkeypatch.setattr(solving, "solve_noise_multiplier", lambda *a: solve(*a) * factor)
    assert not solved_well(2.0, 0.05, 100)


def test_solved_noise_is_right_by_google() -> None:
    """The solver does not only agree with itself: the oracle finds the target spent too."""
    sigma = solve_noise_multiplier(3.0, DELTA, 0.05, 200)
    assert google((Spent(sigma, 0.05, 200),)) == pytest.approx(3.0, rel=0.015)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-4])
def test_too_small_epsilon(epsilon: float) -> None:
    """An epsilon that no noise meets is refused with a remedy."""
    with pytest.raises(
        SettingsError,
        match=r"no noise_multiplier up to 10000 .*enough for 1000 steps.*fewer rounds",
    ):
        solve_noise_multiplier(epsilon, DELTA, 0.5, 1000)


def test_tiny_epsilon() -> None:
    """The same holds for an epsilon below the bracket of the central-limit guess."""
    with pytest.raises(SettingsError):
        solve_noise_multiplier(1e-6, DELTA, 0.1, 100)


def test_budget_solves_only_what_is_missing() -> None:
    """`Budget.solve` fills the noise in; given noise, or no promise, it leaves alone."""
    solved = Budget(epsilon=2.0).solve(0.05, 100)
    assert solved.noise_multiplier == solve_noise_multiplier(2.0, 1e-5, 0.05, 100)
    assert solved.epsilon == 2.0
    for budget in (Budget(epsilon=2.0, noise_multiplier=1.5), Budget(unit="none")):
        assert budget.solve(0.05, 100) is budget
    with pytest.raises(ValueError, match="give epsilon, or noise_multiplier"):
        Budget()


@pytest.mark.parametrize(("sigma", "q", "steps"), [(1.0, 0.05, 200), (2.0, 1.0, 30)])
def test_epsilon_path(sigma: float, q: float, steps: int) -> None:
    """Grows, stands above `epsilon_spent` throughout, and meets it at the end."""
    path = epsilon_path(sigma, q, steps, DELTA)
    ks = [1, 2, steps // 10, steps // 2, steps]
    values = [path(k) for k in ks]
    assert path(0) == 0.0
    assert values == sorted(values)
    for k, value in zip(ks, values, strict=True):
        assert value >= epsilon_spent((Spent(sigma, q, k),), DELTA) - 1e-2
    assert values[-1] == pytest.approx(epsilon_spent((Spent(sigma, q, steps),), DELTA), rel=0.01)


def test_epsilon_path_without_noise() -> None:
    """No noise: infinite after one step."""
    path = epsilon_path(0.0, 0.1, 10, DELTA)
    assert (path(0), path(1), path(10)) == (0.0, math.inf, math.inf)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Spent, ...]]:
    """Caches emptied; the list receives the entries of every real computation."""
    calls: list[tuple[Spent, ...]] = []
    discretise = prv._discretise

    def counting(entries: tuple[Spent, ...], delta: float, relative_error: float) -> Any:
        calls.append(entries)
        return discretise(entries, delta, relative_error)

    monkeypatch.setattr(prv, "_discretise", counting)
    monkeypatch.setattr(ledger, "_WITHIN", {})
    epsilon_spent.cache_clear()
    return calls


def most_within(entries_at: Callable[[int], Ledger], epsilon: float, top: int) -> int:
    """The greatest number of steps, up to `top`, that `within` lets through; by bisection."""
    low, high = 0, top
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if entries_at(middle).within(epsilon, DELTA) else (low, middle - 1)
        )
    return low


@pytest.mark.parametrize("other", [(), (Spent(3.0, 0.2, 5),)], ids=["one", "two mechanisms"])
def test_within_refuses_one_step_too_many(
    other: tuple[Spent, ...], counted: list[tuple[Spent, ...]]
) -> None:
    """`within` says what `epsilon` says on both sides of the edge, asked in any order, twice."""

    def at(steps: int) -> Ledger:
        return Ledger(other).with_charge(2.0, 0.1, steps)

    edge = most_within(at, 1.5, 64)
    assert 0 < edge < 64
    assert at(edge).epsilon(DELTA) <= 1.5 < at(edge + 1).epsilon(DELTA)
    for steps, fits in [(edge, True), (edge + 1, False), (1, True), (edge, True), (64, False)]:
        assert at(steps).within(1.5, DELTA) is fits
    # A verdict for one (epsilon, delta) is not taken for another.
    assert not at(edge).within(0.5, DELTA)
    assert not at(edge).within(1.5, 1e-9)


def test_within_is_not_computed_again(counted: list[tuple[Spent, ...]]) -> None:
    """Fewer steps than once held need no accountant."""
    assert Ledger([Spent(2.0, 0.1, 50)]).within(5.0, DELTA)
    assert len(counted) == 1
    for steps in range(1, 51):
        assert Ledger([Spent(2.0, 0.1, steps)]).within(5.0, DELTA)
    assert len(counted) == 1
    assert Ledger([Spent(2.0, 0.1, 51)]).within(5.0, DELTA)
    assert len(counted) == 2


def test_epsilon_is_memoised(counted: list[tuple[Spent, ...]]) -> None:
    """A thousand like devices: epsilon is computed once; another ledger is computed anew."""
    values = {Ledger([Spent(2.0, 0.1, 30)]).epsilon(DELTA) for _ in range(1000)}
    assert len(values) == 1
    assert counted == [(Spent(2.0, 0.1, 30),)]
    Ledger([Spent(2.0, 0.1, 31)]).epsilon(DELTA)
    assert len(counted) == 2


def test_next_to_no_noise_is_bounded_in_little_memory():
    """The PRV's grid would have 46 billion points: who names a sigma must not fill a device."""
    spent = (Spent(0.001, 0.25, 8),)
    tracemalloc.start()
    epsilon = epsilon_spent(spent, 0.5)
    after = epsilon_path(0.001, 0.25, 8, 0.5)
    assert after(0) == 0
    assert epsilon_spent((Spent(0.01, 0.25, 8),), 0.5) < epsilon == after(8)
    assert tracemalloc.get_traced_memory()[1] < 1 << 28
    tracemalloc.stop()
