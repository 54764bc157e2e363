"""A budget is not overspent."""

from contextlib import suppress

import pytest
import torch
from test_training import CLIP, Q, flat, make_model, make_private

from privacy.cipher import Stream
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import BudgetExhausted

# (5) the budget

BUDGET = Budget(epsilon=2.0, noise_multiplier=2.0, clip=CLIP)


def test_overspending_is_refused_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No batch, no charge, no random number; the message names what is spent and asked."""
    model, ledger = make_model(), Ledger([Spent(2.0, Q, 3)])
    private = make_private(model, ledger, budget=BUDGET)
    monkeypatch.setattr(Stream, "words", lambda *_: pytest.fail("a random number was drawn"))
    entries, before = ledger.entries, flat(model)
    with pytest.raises(BudgetExhausted) as caught:
        next(private.batches(1000))
    spent, would = ledger.epsilon(1e-5), ledger.with_charge(2.0, Q, 1000).epsilon(1e-5)
    text = str(caught.value)
    assert f"epsilon {spent:.4g} is spent" in text
    assert f"1000 more steps would bring it to {would:.4g}, over 2" in text
    assert ledger.entries == entries
    assert torch.equal(flat(model), before)


def test_spending_up_to_the_edge() -> None:
    """The last step that fits is handed out, the next is refused."""
    ledger = Ledger()
    private = make_private(make_model(), ledger, budget=BUDGET)
    handed_out = 0

    def spend() -> None:
        nonlocal handed_out
        for _ in range(100):
            handed_out += len(list(private.batches(1)))

    with pytest.raises(BudgetExhausted):
        spend()
    assert handed_out > 0
    assert ledger.entries == (Spent(2.0, Q, handed_out),)
    assert ledger.epsilon(1e-5) <= 2.0 < ledger.with_charge(2.0, Q, 1).epsilon(1e-5)


def test_two_loops_do_not_overspend_together() -> None:
    """Loops over one ledger that each fit, but not both, are stopped in time."""
    sigma, ledger = 5.0, Ledger()
    budget = Budget(epsilon=2.0, noise_multiplier=sigma, clip=CLIP)
    private = make_private(make_model(), ledger, budget=budget)
    steps = 20
    assert Ledger([Spent(sigma, Q, steps + 1)]).within(2.0, 1e-5)
    assert not Ledger([Spent(sigma, Q, 2 * steps)]).within(2.0, 1e-5)
    with suppress(BudgetExhausted):
        for _ in zip(private.batches(steps), private.batches(steps), strict=True):
            pass
    assert ledger.epsilon(1e-5) <= 2.0


@pytest.mark.parametrize("budget", [Budget(unit="none"), Budget(epsilon=1.0)])
def test_an_unsolved_budget_is_refused(budget: Budget) -> None:
    """Without a promise for records, or without its noise, there is nothing to bind to."""
    with pytest.raises(ValueError, match="solved noise multiplier"):
        make_private(make_model(), budget=budget)
